// The generator of the retriever's long contexts.
#include "support/needle_prompts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/file.h"
#include "support/model_files.h"

namespace lserve::test {
namespace {

using testing::make_needle_context;
using testing::Needle;
using testing::NeedleContext;
using testing::NeedleQuestion;

std::string source() {
  return read_file(source_path("tests/data/texts/jargon_file.txt"), 1 << 20).value();
}

std::string whole(const NeedleContext& context) {
  std::string text = context.text;
  for (const NeedleQuestion& q : context.questions) text += q.question + q.answer;
  return text;
}

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(NeedlePrompts, TheSeedDecides) {
  const std::string text = source();
  const std::string one = whole(make_needle_context(text, {.num_bytes = 8000, .seed = 3}));
  EXPECT_EQ(one, whole(make_needle_context(text, {.num_bytes = 8000, .seed = 3})));
  EXPECT_NE(one, whole(make_needle_context(text, {.num_bytes = 8000, .seed = 4})));
}

TEST(NeedlePrompts, HasExactlyItsBytesAndNeverMoreThanAscii) {
  const std::string text = source();
  for (const size_t bytes : {3000, 4095, 8191, 131071}) {  // the last takes the filler twice
    const std::string all = whole(make_needle_context(text, {.num_bytes = bytes, .seed = bytes}));
    EXPECT_EQ(all.size(), bytes);
    EXPECT_TRUE(std::all_of(all.begin(), all.end(),
                            [](char c) { return c == '\n' || (' ' <= c && c <= '~'); }));
  }
}

TEST(NeedlePrompts, EveryStatementIsOneLineAndUnique) {
  const std::string text = source();
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const NeedleContext context = make_needle_context(text, {.num_bytes = 6000, .seed = seed});
    ASSERT_EQ(context.needles.size(), 24U);
    std::set<std::string> words, values;
    for (const Needle& needle : context.needles) {
      const std::string line = "The pass key for " + needle.name + " is " + needle.value + ".\n";
      EXPECT_EQ(context.text.substr(needle.at, line.size()), line);
      EXPECT_EQ(context.text[needle.at - 1], '\n');
      EXPECT_EQ(count(context.text, needle.name), 1U);
      const size_t hyphen = needle.name.find('-');
      words.insert(needle.name.substr(0, hyphen));
      words.insert(needle.name.substr(hyphen + 1));
      values.insert(needle.value);
      EXPECT_TRUE(5 <= needle.value.size() && needle.value.size() <= 7);
    }
    EXPECT_EQ(words.size(), 48U);
    EXPECT_EQ(values.size(), 24U);
    EXPECT_EQ(count(context.text, "The pass key for "), 24U);
    EXPECT_EQ(context.text.back(), '\n');
  }
}

TEST(NeedlePrompts, DepthsAreEven) {
  const NeedleContext context = make_needle_context(source(), {.num_bytes = 32767, .seed = 5});
  const auto length = static_cast<double>(context.text.size());
  for (size_t i = 0; i < context.needles.size(); ++i) {
    const double depth = static_cast<double>(context.needles[i].at) / length;
    EXPECT_NEAR(depth, (static_cast<double>(i) + 0.5) / 24, 0.005) << i;
  }
}

TEST(NeedlePrompts, QuestionsAreAboutDifferentNeedles) {
  const NeedleContext context = make_needle_context(source(), {.num_bytes = 6000, .seed = 6});
  ASSERT_EQ(context.questions.size(), 8U);
  std::set<size_t> asked;
  for (const NeedleQuestion& q : context.questions) {
    const Needle& needle = context.needles[q.needle_idx];
    EXPECT_EQ(q.question, "What is the pass key for " + needle.name + "?");
    EXPECT_EQ(q.answer, " " + needle.value + "\n");
    asked.insert(q.needle_idx);
  }
  EXPECT_EQ(asked.size(), 8U);
}

}  // namespace
}  // namespace lserve::test
