#include "espalier/lab/report/heat_map.h"

#include "tests/support.h"

namespace espalier::test {
namespace {

TEST(HeatMap, EveryCellHasItsColourAndItsPercentage) {
  const Json cells = {{{"length", 512}, {"depth", 0.5}, {"exact", 0.25}}, {{"length", 256}, {"depth", 0.0}, {"exact", 1.0}}, {{"length", 256}, {"depth", 0.5}, {"exact", 0.0}}};
  const HeatMap map = needle_heat_map(cells, "a<b");
  EXPECT_EQ(map.rows, (std::vector<std::string>{"0 %", "50 %"}));
  EXPECT_EQ(map.columns, (std::vector<std::string>{"256", "512"}));
  ASSERT_EQ(map.cells.size(), 3u);
  EXPECT_EQ(map.cells[0].row, 1u);
  EXPECT_EQ(map.cells[0].column, 1u);
  const std::string svg = heat_map_svg(map);
  EXPECT_NE(svg.find("hsl(120,"), std::string::npos);
  EXPECT_NE(svg.find("hsl(30,"), std::string::npos);
  EXPECT_NE(svg.find("hsl(0,"), std::string::npos);
  EXPECT_NE(svg.find(">25</text>"), std::string::npos);
  EXPECT_NE(svg.find("a&lt;b"), std::string::npos);
  ESP_EXPECT_USER_ERROR(heat_map_svg({"t", "", "", {}, {}, {}}), "no cell");
}

}  // namespace
}  // namespace espalier::test
