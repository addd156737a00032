// See needle_prompts.h.
#include "support/needle_prompts.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <span>
#include <utility>

#include "base/check.h"
#include "base/random.h"

namespace lserve::testing {

namespace {

constexpr std::array<std::string_view, 48> kFirstWords = {
    "amber",   "brisk",   "cedar",   "dusty",   "early",   "fabled",   "gentle", "hollow",
    "icy",     "jolly",   "keen",    "lucid",   "mellow",  "narrow",   "olive",  "plain",
    "quiet",   "rustic",  "silver",  "tidal",   "upper",   "velvet",   "wooden", "yellow",
    "ancient", "bronze",  "copper",  "distant", "eastern", "frozen",   "golden", "hidden",
    "inner",   "jagged",  "knotted", "lunar",   "misty",   "northern", "open",   "purple",
    "rapid",   "scarlet", "tender",  "urban",   "vivid",   "western",  "young",  "zealous"};
constexpr std::array<std::string_view, 48> kSecondWords = {
    "falcon", "anchor", "basin",   "candle",  "desert", "engine",   "forest",  "garden",
    "harbor", "island", "jacket",  "kettle",  "ladder", "meadow",   "needle",  "orchard",
    "pepper", "quarry", "ribbon",  "saddle",  "temple", "umbrella", "valley",  "window",
    "acorn",  "bridge", "cabin",   "drum",    "ember",  "fiddle",   "glacier", "hammer",
    "inlet",  "jungle", "kitten",  "lantern", "mirror", "nest",     "otter",   "pillow",
    "quilt",  "river",  "sparrow", "thimble", "turnip", "violin",   "walnut",  "yarn"};

template <typename List>
void shuffle(List* list, Random* random) {
  for (size_t i = list->size(); i > 1; --i) {
    const auto other = static_cast<size_t>(random->integer(0, static_cast<int64_t>(i) - 1));
    std::swap((*list)[i - 1], (*list)[other]);
  }
}

std::string digits(Random* random) {
  const int64_t count = random->integer(5, 7);
  std::string value(1, static_cast<char>('0' + random->integer(1, 9)));
  for (int64_t i = 1; i < count; ++i) value += static_cast<char>('0' + random->integer(0, 9));
  return value;
}

// No word and no value comes twice.
std::vector<Needle> draw_needles(size_t count, Random* random) {
  CHECK_LE(count, kFirstWords.size());
  auto first = kFirstWords;
  auto second = kSecondWords;
  shuffle(&first, random);
  shuffle(&second, random);
  std::vector<Needle> needles;
  while (needles.size() < count) {
    std::string value = digits(random);
    const auto same = [&value](const Needle& needle) { return needle.value == value; };
    if (std::any_of(needles.begin(), needles.end(), same)) continue;
    const size_t i = needles.size();
    needles.push_back({std::string(first[i]) + "-" + std::string(second[i]), std::move(value), 0});
  }
  return needles;
}

std::string statement(const Needle& needle) {
  return "The pass key for " + needle.name + " is " + needle.value + ".\n";
}

std::vector<NeedleQuestion> ask(const std::vector<Needle>& needles, size_t count, Random* random) {
  CHECK_LE(count, needles.size());
  std::vector<size_t> order(needles.size());
  std::iota(order.begin(), order.end(), size_t{0});
  shuffle(&order, random);
  std::vector<NeedleQuestion> questions;
  for (const size_t i : std::span(order).first(count)) {
    questions.push_back(
        {"What is the pass key for " + needles[i].name + "?", " " + needles[i].value + "\n", i});
  }
  return questions;
}

std::vector<std::string> paragraphs(std::string_view source) {
  std::vector<std::string> list;
  for (size_t begin = 0; begin < source.size();) {
    const size_t end = std::min(source.find("\n\n", begin), source.size());
    std::string paragraph;
    for (const char c : source.substr(begin, end - begin)) {
      if (c == '\n' || (' ' <= c && c <= '~')) paragraph += c;
    }
    if (!paragraph.empty()) list.push_back(std::move(paragraph));
    begin = end + 2;
  }
  return list;
}

// Ends in a newline.
std::string fill(std::string_view source, size_t bytes, Random* random) {
  std::vector<std::string> list = paragraphs(source);
  CHECK(!list.empty());
  std::string text;
  while (text.size() < bytes) {
    shuffle(&list, random);
    for (const std::string& paragraph : list) text += paragraph + "\n\n";
  }
  text.resize(bytes);
  text.back() = '\n';
  return text;
}

}  // namespace

NeedleContext make_needle_context(std::string_view source, const NeedleOptions& options) {
  Random random(options.seed);
  NeedleContext context;
  context.needles = draw_needles(options.num_needles, &random);
  context.questions = ask(context.needles, options.num_questions, &random);
  size_t other_bytes = 0;
  for (const Needle& needle : context.needles) other_bytes += statement(needle).size();
  for (const NeedleQuestion& q : context.questions) {
    other_bytes += q.question.size() + q.answer.size();
  }
  CHECK_GE(options.num_bytes, 2 * other_bytes);
  const std::string filler = fill(source, options.num_bytes - other_bytes, &random);
  size_t copied = 0;
  for (size_t i = 0; i < context.needles.size(); ++i) {
    const size_t depth = (2 * i + 1) * filler.size() / (2 * context.needles.size());
    const size_t line_end = filler.rfind('\n', depth - 1);  // one may be before the last place
    const size_t end = line_end == std::string::npos ? copied : std::max(copied, line_end + 1);
    context.text.append(filler, copied, end - copied);
    copied = end;
    context.needles[i].at = context.text.size();
    context.text += statement(context.needles[i]);
  }
  context.text.append(filler, copied);
  return context;
}

}  // namespace lserve::testing
