// The strict reader: what it takes, what it refuses, and that it does so by a Status.
#include "base/json.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace lserve {
namespace {

Result<Json> parse(std::string_view text, JsonLimits limits = {}) {
  return Json::parse(text, "test", limits);
}

TEST(JsonTest, ReadsEveryType) {
  auto json = parse(R"( {"a": [null, true, -12, 0.5, "x\u00e9\n"], "b": {}} )");
  ASSERT_TRUE(json.ok());
  const Json* a = json->find("a");
  ASSERT_NE(a, nullptr);
  const auto& array = a->as_array();
  ASSERT_EQ(array.size(), 5U);
  EXPECT_TRUE(array[0].is_null());
  EXPECT_TRUE(array[1].as_bool());
  EXPECT_EQ(array[2].as_int(), -12);
  EXPECT_EQ(array[3].as_double(), 0.5);
  EXPECT_EQ(array[4].as_string(), "x\xC3\xA9\n");
  EXPECT_TRUE(json->find("b")->as_object().empty());
  EXPECT_EQ(json->find("c"), nullptr);
  EXPECT_EQ(array[0].find("x"), nullptr);
}

TEST(JsonTest, RefusesWhatRfc8259DoesNotHave) {
  for (const char* text : {"",
                           " ",
                           "{",
                           "[1,]",
                           "{\"a\":1,}",
                           "{'a':1}",
                           "nul",
                           "NaN",
                           "[Infinity]",
                           "01",
                           "+1",
                           "1.",
                           ".5",
                           "1e",
                           "\"a",
                           "\"\t\"",
                           "[1] 2",
                           "{\"a\":1 \"b\":2}",
                           "// x\n1",
                           "[1e999]",
                           "\"\\x\"",
                           "\"\\ud800\"",
                           "\xEF\xBB\xBF{}",
                           "\"\xFF\"",
                           "{\"a\":1,\"a\":2}",
                           "{1:2}"}) {
    const auto json = parse(text);
    EXPECT_FALSE(json.ok()) << text;
    if (!json.ok()) {
      EXPECT_NE(json.status().message().find("test"), std::string::npos);
    }
  }
}

TEST(JsonTest, DepthAndSizeAreLimited) {
  const auto nested = [](int depth) {
    return std::string(static_cast<size_t>(depth), '[') +
           std::string(static_cast<size_t>(depth), ']');
  };
  EXPECT_TRUE(parse(nested(64)).ok());
  EXPECT_FALSE(parse(nested(65)).ok());
  EXPECT_FALSE(parse(nested(1'000'000)).ok()) << "no stack is deep enough for recursion";
  EXPECT_FALSE(parse("[1,2,3,4,5]", {.max_elements = 4}).ok());
}

TEST(JsonTest, IntegersAreExact) {
  EXPECT_EQ(parse("9223372036854775807")->as_int(), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(parse("-9223372036854775808")->as_int(), std::numeric_limits<int64_t>::min());
  const auto beyond = parse("9223372036854775808");
  if (beyond.ok()) {
    EXPECT_FALSE(beyond->is_int());
  }
}

TEST(JsonTest, DumpReadsBack) {
  Json json = Json::object();
  json.set("text", "quote \" backslash \\ tab \t nul \x01 \xC3\xA9");
  json.set("number", 0.1);
  json.set("large", int64_t{1} << 62);
  Json array = Json::array();
  array.push_back(Json());
  array.push_back(false);
  json.set("array", std::move(array));
  for (const int indent : {0, 2}) {
    const auto back = parse(json.dump(indent));
    ASSERT_TRUE(back.ok()) << json.dump(indent);
    EXPECT_EQ(back->dump(), json.dump());
    EXPECT_EQ(back->find("number")->as_double(), 0.1);
    EXPECT_EQ(back->find("large")->as_int(), int64_t{1} << 62);
  }
  EXPECT_EQ(json.dump().find('\n'), std::string::npos);
}

TEST(JsonTest, DumpIsAlwaysValid) {
  Json json = Json::array();
  json.push_back(std::nan(""));
  json.push_back(std::numeric_limits<double>::infinity());
  json.push_back("\xFF\xC3");
  const auto back = parse(json.dump());
  ASSERT_TRUE(back.ok()) << json.dump();
  EXPECT_TRUE(back->as_array()[0].is_null());
  EXPECT_TRUE(back->as_array()[1].is_null());
}

}  // namespace
}  // namespace lserve
