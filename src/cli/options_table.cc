#include "cli/options_table.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "base/check.h"
#include "base/strings.h"
#include "cli/options_attention_rows.h"
#include "cli/options_device_rows.h"
#include "cli/options_kernel_rows.h"
#include "cli/options_measure_rows.h"
#include "cli/options_memory_rows.h"
#include "cli/options_text_rows.h"

namespace lserve {

namespace {

constexpr std::array<VerbSpec, 7> kVerbs = {{
    {Verb::kRun, "run", "MODEL [PROMPT]", 2, "answer a prompt; a terminal without one is a chat"},
    {Verb::kInfo, "info", "MODEL", 1, "shapes, files, tokenizer and memory plan of a model"},
    {Verb::kTokenize, "tokenize", "MODEL [PROMPT]", 2, "token ids of a text"},
    {Verb::kQuantize, "quantize", "MODEL", 1,
     "write a Hugging Face directory (no .gguf) again, with low-bit weights",
     "Hugging Face directory of float weights"},
    {Verb::kEvalPerplexity, "eval perplexity", "MODEL [PROMPT]", 2, "how well it predicts a text"},
    {Verb::kBenchLatency, "bench latency", "MODEL", 1, "prefill and decode speed by context"},
    {Verb::kBenchKernel, "bench kernel", "OP", 1,
     "speed of single operations, in parts of what the device can do"},
}};

// In the order in which help shows them.
template <size_t... kCounts>
constexpr auto join(const std::array<OptionSpec, kCounts>&... rows) {
  std::array<OptionSpec, (kCounts + ...)> all{};
  auto to = all.begin();
  ((to = std::copy(rows.begin(), rows.end(), to)), ...);
  return all;
}
constexpr auto kOptions =
    join(kKernelRows, kTextRows, kMeasureRows, kAttentionRows, kMemoryRows, kDeviceRows);

}  // namespace

Status check_not_zero(std::string_view value, std::string_view what) {
  const Result<double> number = parse_double(value, what);
  if (number.ok() && *number == 0) return usage_error(cat(what, ": must be above 0"));
  return {};
}

Status check_not_empty(std::string_view value, std::string_view what) {
  if (!value.empty()) return {};
  return usage_error(cat(what, ": the value is empty"));
}

std::span<const VerbSpec> verb_table() { return kVerbs; }

const VerbSpec& verb_spec(Verb verb) {
  const auto* spec = std::find_if(kVerbs.begin(), kVerbs.end(),
                                  [verb](const VerbSpec& v) { return v.verb == verb; });
  CHECK(spec != kVerbs.end());
  return *spec;
}

std::span<const OptionSpec> option_table() { return kOptions; }

const OptionSpec* find_option(Verb verb, std::string_view name) {
  if (name.empty()) return nullptr;
  for (const OptionSpec& spec : kOptions) {
    if ((spec.verbs & verb_bit(verb)) == 0) continue;
    if (name == spec.name || name == spec.alias || name == spec.short_name) return &spec;
  }
  return nullptr;
}

std::string environment_name(const OptionSpec& spec) {
  std::string out = "LSERVE_";
  for (const char c : spec.name) {
    out += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return out;
}

std::vector<std::string> choices_of(const OptionSpec& spec) {
  std::string_view words = spec.value_name;
  if (words.ends_with(",...")) words.remove_suffix(4);
  std::vector<std::string> out;
  while (!words.empty()) {
    const size_t bar = words.find('|');
    out.emplace_back(words.substr(0, bar));
    words = bar == std::string_view::npos ? std::string_view() : words.substr(bar + 1);
  }
  return out;
}

}  // namespace lserve
