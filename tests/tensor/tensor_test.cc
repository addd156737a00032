// Shapes and views.
#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <sstream>

namespace lserve {
namespace {

TEST(ShapeTest, Basics) {
  const Shape shape{2, 3, 4};
  EXPECT_EQ(shape.rank(), 3);
  EXPECT_EQ(shape[1], 3);
  EXPECT_EQ(shape.num_elements(), 24);
  EXPECT_TRUE(shape == Shape({2, 3, 4}));
  EXPECT_FALSE(shape == Shape({2, 3}));
  EXPECT_FALSE(shape == Shape({2, 3, 5}));
  std::ostringstream text;
  text << shape;
  EXPECT_EQ(text.str(), "[2, 3, 4]");
}

TEST(ShapeTest, EmptyAxes) { EXPECT_EQ(Shape({0, 7}).num_elements(), 0); }

TEST(TensorViewTest, KnowsItsType) {
  float data[6] = {};
  const TensorView view(data, {2, 3});
  EXPECT_EQ(view.as<float>(), data);
  EXPECT_EQ(view.dim(1), 3);
}

TEST(TensorViewDeathTest, MistakesAbort) {
  float data[6] = {};
  const TensorView view(data, {2, 3});
  EXPECT_DEATH(view.as<int32_t>(), "dtype");
  EXPECT_DEATH(view.dim(2), "axis");
}

}  // namespace
}  // namespace lserve
