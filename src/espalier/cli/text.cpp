#include "espalier/cli/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>

namespace espalier {
namespace {

// Three digits and the unit: 1.23, 12.3, 123.
std::string three_digits(double value) {
  return fmt::format("{:.{}f}", value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0);
}

std::string scaled(double value, const char* const (&units)[5]) {
  size_t unit = 0;
  while (value >= 999.5 && unit < 4) {
    value /= 1000;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:g}{}", value, units[0]) : three_digits(value) + units[unit];
}

size_t width_of(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

bool is_number(const std::string& cell) {
  return !cell.empty() &&
         (std::isdigit(static_cast<unsigned char>(cell[0])) ||
          ((cell[0] == '-' || cell[0] == '+') && cell.size() > 1)) &&
         cell.find_first_of(":/") == std::string::npos;
}

bool is_list_of_objects(const Json& value) {
  return value.is_array() && !value.empty() &&
         std::all_of(value.begin(), value.end(), [](const Json& row) { return row.is_object(); });
}

std::string table_of(const Json& rows, int indent) {
  std::vector<std::string> header;
  for (const auto& [key, value] : rows.front().items()) header.push_back(key);
  Table table(header);
  for (const Json& row : rows) {
    std::vector<std::string> cells;
    for (const auto& key : header) cells.push_back(row.contains(key) ? shown(row.at(key)) : "-");
    table.add(std::move(cells));
  }
  std::string text;
  const std::string lines = table.str();
  for (size_t at = 0; at < lines.size();) {
    const size_t end = lines.find('\n', at) + 1;
    text += std::string(static_cast<size_t>(indent), ' ') + lines.substr(at, end - at);
    at = end;
  }
  return text;
}

}  // namespace

std::string human_count(double count) { return scaled(count, {"", " K", " M", " G", " T"}); }
std::string human_bytes(uint64_t bytes) {
  return scaled(static_cast<double>(bytes), {" B", " KB", " MB", " GB", " TB"});
}
std::string change(double before, double after) {
  return before > 0 ? fmt::format("{:+.1f} %", (after / before - 1) * 100) : "-";
}

std::string shown(const Json& value) {
  if (value.is_null()) return "-";
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_number_float()) return fmt::format("{:.5g}", value.get<double>());
  if (!value.is_array() || std::any_of(value.begin(), value.end(), [](const Json& e) { return e.is_structured(); }))
    return value.dump();
  std::string list;
  for (const Json& entry : value) list += (list.empty() ? "" : ", ") + shown(entry);
  return list.empty() ? "-" : list;
}

std::string Table::str() const {
  std::vector<size_t> widths;
  std::vector<bool> right;
  for (const auto& row : rows_)
    for (size_t i = 0; i < row.size(); ++i) {
      widths.resize(std::max(widths.size(), row.size()));
      widths[i] = std::max(widths[i], width_of(row[i]));
    }
  for (size_t i = 0; i < widths.size(); ++i)
    right.push_back(rows_.size() > 1 && std::all_of(rows_.begin() + 1, rows_.end(), [i](const auto& row) {
                      return i >= row.size() || row[i] == "-" || is_number(row[i]);
                    }));
  std::string text;
  for (const auto& row : rows_) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string gap(widths[i] - width_of(row[i]), ' ');
      line += (i ? "  " : "") + (right[i] ? gap + row[i] : row[i] + gap);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string describe_object(const Json& object, int indent) {
  size_t widest = 0;
  for (const auto& [key, value] : object.items())
    if (!value.is_object() && !is_list_of_objects(value)) widest = std::max(widest, width_of(key));
  std::string text;
  const std::string margin(static_cast<size_t>(indent), ' ');
  for (const auto& [key, value] : object.items()) {
    if (value.is_object() && !value.empty()) {
      text += margin + key + ":\n" + describe_object(value, indent + 2);
    } else if (is_list_of_objects(value)) {
      text += margin + key + ":\n" + table_of(value, indent + 2);
    } else {
      text += margin + key + std::string(widest + 2 - std::min(widest, width_of(key)), ' ') + shown(value) + "\n";
    }
  }
  return text;
}

}  // namespace espalier
