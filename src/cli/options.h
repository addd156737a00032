// START HERE for the command line: what the user asked, as the verbs read it.
//
// Precedence: command line > environment (LSERVE_<OPTION>) > --config file > the model's own
// defaults > built-in. Every value is checked when it is read, whatever its source, so the typed
// accessors below cannot fail. Nothing here prints or exits: main.cc does.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "cli/options_table.h"

namespace lserve {

enum class OptionSource { kBuiltIn, kModel, kConfigFile, kEnvironment, kCommandLine };
enum class HelpKind { kNone, kCommon, kAll };

class CommandLine {
 public:
  // `args` are the words after the program's name; `environment` looks a variable up, null if it is
  // not set (an empty one counts as not set). kUsage, or kDevice for a device that this build
  // lacks. A request for help or the version wins over everything else on the line; no
  // words at all ask for help.
  using Environment = std::function<const char*(const std::string&)>;
  static Result<CommandLine> parse(std::span<const std::string> args,
                                   const Environment& environment);

  Verb verb() const { return verb_; }
  HelpKind help() const { return help_; }
  bool version() const { return version_; }

  // Accessors. REQUIRES: `name` is an option of this verb, of that type.
  bool is_set(std::string_view name) const;  // by anything but the built-in default
  OptionSource source(std::string_view name) const;
  bool get_flag(std::string_view name) const;
  int64_t get_int(std::string_view name) const;    // kInt, kCount, kBytes; "auto" reads as 0
  double get_number(std::string_view name) const;  // kNumber; a word reads as 0
  std::string get_text(
      std::string_view name) const;  // kText, kChoice, kInt...; "" if there is none
  // The occurrences of a repeatable option, or the elements of a comma list.
  std::vector<std::string> get_texts(std::string_view name) const;
  std::vector<int64_t> get_ints(std::string_view name) const;  // kCountList

  // A default that a file beside the model gives (generation_config.json, a head pattern's
  // config.json); it counts only where the user said nothing. An error names `where`.
  Status set_model_default(std::string_view name, std::string text, std::string_view where);

  // Every option of the verb with its value and source, as a file that --config reads back.
  std::string dump_config() const;

 private:
  struct Value {
    std::vector<std::string> texts;  // one, or several if repeatable
    OptionSource source = OptionSource::kBuiltIn;
    std::string where;  // "LSERVE_SEED", "my.toml:3", ...
  };
  // Takes the options, and gives back the other words.
  Result<std::vector<std::string>> take_words(std::span<const std::string> args);
  Status take_option(std::span<const std::string> args, size_t& next);
  // kUsage if what every command of that verb needs is missing.
  Status check_complete() const;
  Status take_positionals(std::span<const std::string> words);
  Status take_config_file();
  Status take_environment(const Environment& environment);
  // Stores the text if no stronger source has spoken; later ones of the same source replace
  // earlier ones, or join them if the option is repeatable.
  Status store(const OptionSpec& spec, std::string text, OptionSource source, std::string where);
  const OptionSpec& spec(std::string_view name) const;
  std::string text_or_default(std::string_view name) const;

  Verb verb_ = Verb::kNone;
  HelpKind help_ = HelpKind::kNone;
  bool version_ = false;
  std::map<std::string, Value, std::less<>> values_;  // by OptionSpec::name
};

// For standard output. Verb::kNone: the list of verbs.
std::string help_text(Verb verb, HelpKind kind);

}  // namespace lserve
