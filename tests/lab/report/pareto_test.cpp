#include "espalier/lab/report/pareto.h"

#include "tests/support.h"

namespace espalier::test {
namespace {

ParetoPlot accuracies() {
  return {"net", "FLOPs", "accuracy", true,
          {{"dense", {{1.0, 0.90, 0.88, 0.92, "dense"}}},
           {"a", {{0.5, 0.85, 0.83, 0.87, "a 0.5"}, {0.3, 0.60, 0.55, 0.65, "a 0.3"}}},
           {"b<&>", {{0.5, 0.80, 0.78, 0.82, "b 0.5"}, {0.3, 0.70, 0.66, 0.74, "b 0.3"}}}}};
}

using Front = std::vector<std::pair<size_t, size_t>>;

TEST(Pareto, FrontHoldsWhatNothingBeats) {
  EXPECT_EQ(pareto_front(accuracies()), (Front{{2, 1}, {1, 0}, {0, 0}}));  // b at 0.3, a at 0.5, dense
  ParetoPlot perplexity = accuracies();
  perplexity.higher_is_better = false;  // now the lowest y wins: a at 0.3, and nothing larger is lower
  EXPECT_EQ(pareto_front(perplexity), (Front{{1, 1}}));
}

TEST(Pareto, EqualPointsAreListedOnce) {
  const ParetoPlot plot{"", "", "", true, {{"a", {{1, 1, 1, 1, ""}}}, {"b", {{1, 1, 1, 1, ""}}}}};
  EXPECT_EQ(pareto_front(plot), (Front{{0, 0}}));
}

size_t occurrences(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(Pareto, SvgDrawsEveryPointAndEscapesNames) {
  const std::string svg = pareto_svg(accuracies());
  EXPECT_EQ(occurrences(svg, "<title>"), 5u);
  EXPECT_EQ(occurrences(svg, "<polyline"), 3u);
  EXPECT_NE(svg.find("b&lt;&amp;&gt;"), std::string::npos);
  EXPECT_EQ(svg.find("b<&>"), std::string::npos);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg.find("inf"), std::string::npos);
}

TEST(Pareto, OnePointAloneIsDrawn) {
  const std::string svg = pareto_svg({"", "", "", true, {{"dense", {{1, 0, 0, 0, "dense"}}}}});
  EXPECT_EQ(occurrences(svg, "<title>"), 1u);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
}

TEST(Pareto, NothingToDrawIsAnError) { ESP_EXPECT_USER_ERROR(pareto_svg({"net", "", "", true, {{"dense", {}}}}), "no point"); }

TEST(Pareto, PageHoldsTableAndPlot) {
  const Json rows = {{{"method", "a<b"}, {"value", 0.5}}, {{"method", "c"}}};
  const std::string page = report_page("t", "<svg/>", rows, {"method", "value"});
  EXPECT_NE(page.find("<svg/>"), std::string::npos);
  EXPECT_NE(page.find("a&lt;b"), std::string::npos);
  EXPECT_EQ(occurrences(page, "<tr>"), 3u);
  EXPECT_EQ(occurrences(page, "src="), 0u);  // self-contained
}

}  // namespace
}  // namespace espalier::test
