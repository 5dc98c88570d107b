// What plots as SVG have in common: sizes, axes with ticks, colours; and the head of a page.
#pragma once

#include <string>

namespace espalier {

inline constexpr double kWidth = 820, kHeight = 480, kLeft = 80, kRight = 210, kTop = 44, kBottom = 56;

std::string escaped(const std::string& text);  // for XML and HTML

// From values to pixels along one direction.
struct Axis {
  double low, high, from, to;
  double at(double value) const { return from + (value - low) / (high - low) * (to - from); }
};

struct Axes {
  Axis x, y;
};

// Rounded outwards to ticks; a single value gets room around it.
Axes axes_over(double x_low, double x_high, double y_low, double y_high);

struct PlotTexts {
  std::string title, x_label, y_label;
};

std::string svg_begin();  // the opening tag and a white ground
std::string plot_frame(const PlotTexts& texts, const Axes& axes);
const char* series_colour(size_t series);

std::string page_begin(const std::string& title);  // up to the heading

}  // namespace espalier
