// The one table of options: parsing, help, environment, configuration file and --dump-config all
// read it, so an option exists everywhere or nowhere. To add one, add a row: see options_rows.h.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace lserve {

enum class Verb {
  kNone,
  kRun,
  kInfo,
  kTokenize,
  kQuantize,
  kEvalPerplexity,
  kBenchLatency,
  kBenchKernel
};

struct VerbSpec {
  Verb verb;
  std::string_view words;        // "eval perplexity"
  std::string_view positionals;  // "MODEL [PROMPT]"
  int max_positionals;           // they fill "op" or "model", then "prompt" (options.cc)
  std::string_view summary;
  // What MODEL may be, if it is one of the positionals; fits behind "a".
  std::string_view model = "Hugging Face directory or .gguf file";
};

enum class OptionType {
  kFlag,        // no value on the command line; elsewhere true or false
  kText,        // anything
  kChoice,      // one of the words in value_name
  kInt,         // a whole number
  kCount,       // a whole number, with k, M, G (x1024)
  kBytes,       // the same, with KiB, MiB, GiB, GB too
  kNumber,      // a finite number
  kChoiceList,  // words in a comma list
  kCountList,   // counts in a comma list
};

// A row. The environment variable is LSERVE_ and the name in capitals (--top-p: LSERVE_TOP_P); the
// key in a configuration file is the name.
struct OptionSpec {
  std::string_view name;
  std::string_view short_name = {};  // with its dash: "-n"
  std::string_view alias = {};       // a second long name
  std::string_view group;
  uint32_t verbs;  // bits 1 << Verb
  OptionType type = OptionType::kFlag;
  std::string_view value_name = {};  // for help; the words of a choice, separated by '|'
  // What holds if nobody says otherwise. Empty: nothing. A word as the default of a number ("auto")
  // is also accepted as a value, and reads as 0.
  std::string_view default_text = {};
  std::string_view help;
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool common = false;             // shown by --help; the others by --help-all only
  bool command_line_only = false;  // a question, not a setting
  bool repeatable = false;         // every occurrence counts; otherwise the last one
  // A further check of one value; `what` names the option in its message.
  Status (*check)(std::string_view value, std::string_view what) = nullptr;
};

constexpr uint32_t verb_bit(Verb verb) { return uint32_t{1} << static_cast<unsigned>(verb); }

std::span<const VerbSpec> verb_table();
const VerbSpec& verb_spec(Verb verb);  // REQUIRES: verb != kNone
std::span<const OptionSpec> option_table();

// The row of that name (or alias, or short name with its dash) for the verb; null if there is none.
const OptionSpec* find_option(Verb verb, std::string_view name);
std::string environment_name(const OptionSpec& spec);
// The words of a choice.
std::vector<std::string> choices_of(const OptionSpec& spec);
constexpr bool is_list(const OptionSpec& spec) {
  return spec.type == OptionType::kChoiceList || spec.type == OptionType::kCountList;
}

}  // namespace lserve
