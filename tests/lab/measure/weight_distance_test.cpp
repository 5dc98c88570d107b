#include "espalier/lab/measure/weight_distance.h"

#include "espalier/lab/torch.h"
#include "tests/support.h"

namespace espalier {
namespace {

at::Tensor numbers(const std::vector<double>& values) { return at::tensor(values, at::kDouble); }

TEST(WeightDistance, IsThatOfOneLongVector) {
  EXPECT_DOUBLE_EQ(l2_distance({numbers({1, 2}), numbers({5})}, {numbers({1, 5}), numbers({1})}), 5);
  EXPECT_EQ(l2_distance({}, {}), 0);
}

TEST(WeightDistance, AnglesAreInDegreesFromTheOrigin) {
  const std::vector origin{numbers({1, 1})};
  EXPECT_NEAR(angle_between({numbers({2, 1})}, {numbers({1, 4})}, origin), 90, 1e-9);
  EXPECT_NEAR(angle_between({numbers({2, 1})}, {numbers({3, 3})}, origin), 45, 1e-9);
  EXPECT_NEAR(angle_between({numbers({2, 2})}, {numbers({0, 0})}, origin), 180, 1e-5);
  EXPECT_NEAR(angle_between({numbers({2, 2})}, {numbers({9, 9})}, origin), 0, 1e-5);
  EXPECT_EQ(angle_between(origin, {numbers({9, 9})}, origin), 0);  // it did not move
}

}  // namespace
}  // namespace espalier
