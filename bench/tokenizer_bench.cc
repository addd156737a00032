// tokenizer_bench: how fast text becomes tokens, on one core, in that core's time.
//
//   tokenizer_bench MODEL TEXT [--tokens N] [--commit ID] [--json FILE]
//
// MODEL is a directory with a tokenizer, or a GGUF file; TEXT is natural text. Workloads: the text
// repeated until it has N tokens (1,000,000), one word in sixteen altered each time, so that the
// cache of pieces sees new ones; and 1 MiB and 2 MiB of texts that are hard for a scanner or for
// BPE, whose times show whether the cost is linear. --json writes the record that documents quote.
#include <sys/utsname.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "base/random.h"
#include "base/strings.h"
#include "checkpoint/gguf.h"
#include "checkpoint/tokenizer_data.h"
#include "tokenizer/tokenizer.h"

namespace lserve::bench {
namespace {

constexpr uint64_t kSeed = 1;
constexpr int64_t kVocabLimit = 1 << 18;  // more rows than tokens do no harm
constexpr int kRepeats = 5;
constexpr double kMaxSecondsPerMillion = 1.0;
constexpr double kMaxGrowth = 2.3;  // of the time, where the text doubles

struct Options {
  std::string model, text, commit, json, command;
  int64_t tokens = 1'000'000;
};

struct Timing {
  double low, median, high;  // seconds
  size_t bytes = 0, tokens = 0;
};

// Of this thread on a core: what else runs on the machine does not count.
double core_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

Timing measure(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<double> seconds;
  size_t tokens = 0;
  for (int i = 0; i <= kRepeats; ++i) {  // the first only warms up
    const double start = core_seconds();
    tokens = tokenizer.encode(text, SpecialTokens::kAsText).size();
    if (i > 0) seconds.push_back(core_seconds() - start);
  }
  std::sort(seconds.begin(), seconds.end());
  return {seconds.front(), seconds[seconds.size() / 2], seconds.back(), text.size(), tokens};
}

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// `text` with two letters exchanged in about one word of sixteen.
std::string altered(std::string text, Random* random) {
  for (size_t i = 0; i + 3 < text.size(); ++i) {
    const bool word_begins =
        !is_letter(text[i]) && is_letter(text[i + 1]) && is_letter(text[i + 2]);
    if (word_begins && random->integer(0, 15) == 0) std::swap(text[i + 1], text[i + 2]);
  }
  return text;
}

std::string repeated(const Tokenizer& tokenizer, const std::string& text, int64_t tokens) {
  Random random(kSeed);
  const size_t once = std::max<size_t>(1, tokenizer.encode(text, SpecialTokens::kAsText).size());
  std::string all;
  for (int64_t have = 0; have < tokens; have += static_cast<int64_t>(once)) {
    all += altered(text, &random);
  }
  return all;
}

struct HardText {
  const char* name;
  std::string_view unit;  // empty: random bytes
};
constexpr HardText kHardTexts[] = {
    {"one letter", "a"},
    {"one space", " "},
    {"one line break", "\n"},
    {"one digit", "7"},
    {"one mark", "\xCC\x81"},
    {"two marks", "\xCC\x81\xCC\xA3"},
    {"quotes", "'"},
    {"ideographs", "\xE6\x97\xA5\xE6\x9C\xAC"},
    {"alphabet", "abcdefghijklmnopqrstuvwxyz"},
    {"random bytes", ""},
};

std::string hard_text(const HardText& hard, size_t bytes) {
  std::string text;
  if (hard.unit.empty()) {
    Random random(kSeed);
    for (size_t i = 0; i < bytes; ++i) text += static_cast<char>(random.next());
  }
  while (text.size() < bytes) text += hard.unit;
  return text;
}

Result<TokenizerData> read_tables(const std::string& path) {
  if (directory_exists(path)) return read_hf_tokenizer(path, kVocabLimit);
  ASSIGN_OR_RETURN(const Gguf gguf, Gguf::open(path));
  return read_tokenizer_gguf(gguf, kVocabLimit);
}

std::string today() {
  const std::time_t now = std::time(nullptr);
  char text[16];
  std::strftime(text, sizeof(text), "%Y-%m-%d", std::gmtime(&now));
  return text;
}

Json figure(std::string metric, double value, const char* unit) {
  return Json::object().set("metric", std::move(metric)).set("value", value).set("unit", unit);
}

Json measure_natural(const Tokenizer& tokenizer, const std::string& text, int64_t tokens) {
  const Timing t = measure(tokenizer, repeated(tokenizer, text, tokens));
  const double scale = 1e6 / static_cast<double>(t.tokens);
  std::printf("natural text: %zu tokens, %.1f MB: %.3f s for 1M tokens (%.3f to %.3f), %.1f MB/s\n",
              t.tokens, static_cast<double>(t.bytes) * 1e-6, t.median * scale, t.low * scale,
              t.high * scale, static_cast<double>(t.bytes) * 1e-6 / t.median);
  Json spread = Json::array();
  spread.push_back(t.low * scale);
  spread.push_back(t.high * scale);
  return figure("natural text, one core: time for 1M tokens", t.median * scale, "s")
      .set("spread", std::move(spread))
      .set("limit", "< 1")
      .set("holds", t.median * scale < kMaxSecondsPerMillion);
}

Json measure_hard(const Tokenizer& tokenizer, const HardText& hard) {
  constexpr size_t kBytes = 1 << 20;
  const Timing once = measure(tokenizer, hard_text(hard, kBytes));
  const Timing twice = measure(tokenizer, hard_text(hard, 2 * kBytes));
  const double growth = twice.low / once.low;
  std::printf("%-16s 1 MiB %7.1f ms, 2 MiB %7.1f ms, growth %.2f\n", hard.name, once.low * 1e3,
              twice.low * 1e3, growth);
  return figure(cat(hard.name, ": time of 2 MiB over that of 1 MiB"), growth, "ratio")
      .set("limit", "< 2.3")
      .set("holds", growth < kMaxGrowth);
}

Status run(const Options& options) {
  ASSIGN_OR_RETURN(const std::string text, read_file(options.text, 64 << 20));
  ASSIGN_OR_RETURN(TokenizerData data, read_tables(options.model));
  ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::create(std::move(data)));
  Json figures = Json::array();
  figures.push_back(measure_natural(*tokenizer, text, options.tokens));
  for (const HardText& hard : kHardTexts) figures.push_back(measure_hard(*tokenizer, hard));
  if (options.json.empty()) return {};
  utsname machine{};
  uname(&machine);
  std::ofstream out(options.json);
  out << Json::object()
             .set("name", "cpu_tokenizer")
             .set("device", machine.machine)
             .set("commit", options.commit)
             .set("date", today())
             .set("command", options.command)
             .set("seed", static_cast<int64_t>(kSeed))
             .set("figures", std::move(figures))
             .dump(1)
      << "\n";
  return out.good() ? Status() : runtime_error(cat(options.json, ": cannot be written"));
}

// File names are left out of the record: they are those of one machine.
Result<Options> parse(int argc, char** argv) {
  Options options;
  options.command = "tokenizer_bench MODEL TEXT";
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (!word.starts_with("--")) {
      (options.model.empty() ? options.model : options.text) = word;
      continue;
    }
    if (i + 1 == argc) return usage_error(cat(word, " needs a value"));
    const std::string value = argv[++i];
    if (word == "--json") {
      options.json = value;
    } else if (word == "--commit") {
      options.commit = value;
    } else if (word == "--tokens") {
      ASSIGN_OR_RETURN(options.tokens, parse_count(value, word));
      options.command += cat(" --tokens ", value);
    } else {
      return usage_error(cat(word, " is no option"));
    }
  }
  if (options.text.empty()) return usage_error("usage: tokenizer_bench MODEL TEXT [--json FILE]");
  return options;
}

}  // namespace
}  // namespace lserve::bench

int main(int argc, char** argv) {
  const auto options = lserve::bench::parse(argc, argv);
  const lserve::Status status = options.ok() ? lserve::bench::run(*options) : options.status();
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.message().c_str());
  return 1;
}
