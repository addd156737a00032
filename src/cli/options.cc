#include "cli/options.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <utility>

#include "base/file.h"
#include "base/strings.h"
#include "cli/options_config.h"
#include "cli/options_value.h"

namespace lserve {

namespace {

constexpr uint64_t kMaxConfigBytes = uint64_t{1} << 20;

const char* source_name(OptionSource source) {
  switch (source) {
    case OptionSource::kBuiltIn:
      return "built-in";
    case OptionSource::kModel:
      return "model";
    case OptionSource::kConfigFile:
      return "config file";
    case OptionSource::kEnvironment:
      return "environment";
    case OptionSource::kCommandLine:
      return "command line";
  }
  return "?";
}

// The verbs that begin with the first word are `known`; the second word names none of them.
Status unknown_second_word(std::span<const std::string> args,
                           const std::vector<std::string>& known) {
  const std::string given = args.size() > 1 ? args[0] + " " + args[1] : args[0];
  std::string list;
  for (const std::string& words : known) list += cat(list.empty() ? "" : " or ", words);
  const auto guess = args.size() > 1 ? did_you_mean(given, known) : std::nullopt;
  return usage_error(
      cat("unknown command ", quoted(given), "; did you mean ", guess.value_or(list), "?"));
}

// The verb that the first words name; words_used tells how many they are.
Result<Verb> find_verb(std::span<const std::string> args, size_t& words_used) {
  std::vector<std::string> known;
  std::vector<std::string> of_that_word;  // "bench latency", "bench kernel"
  for (const VerbSpec& spec : verb_table()) {
    const std::string words(spec.words);
    const size_t space = words.find(' ');
    known.push_back(words.substr(0, space));
    if (args[0] != known.back()) continue;
    words_used = space == std::string::npos ? 1 : 2;
    if (words_used == 1 || (args.size() > 1 && args[1] == words.substr(space + 1))) {
      return spec.verb;
    }
    of_that_word.push_back(words);
  }
  if (!of_that_word.empty()) return unknown_second_word(args, of_that_word);
  const bool is_path = args[0].find('/') != std::string::npos || args[0].ends_with(".gguf");
  if (is_path) {
    return usage_error(
        cat("unknown command ", quoted(args[0]), "; did you mean run ", args[0], "?"));
  }
  const auto guess = did_you_mean(args[0], known);
  return usage_error(cat("unknown command ", quoted(args[0]),
                         guess ? "; did you mean " + *guess + "?" : "; lserve --help lists them"));
}

// The option that the word names ("--name", "--name=value", "-n"), or null.
const OptionSpec* named_option(Verb verb, std::string_view word) {
  const std::string_view name = word.substr(0, word.find('='));
  if (!name.starts_with("--")) return find_option(verb, name);
  // The table's short names carry their dash: "---n" must not find "-n".
  return name.starts_with("---") ? nullptr : find_option(verb, name.substr(2));
}

// "--x" is unknown to the verb: says which verb knows it, or which option was meant.
Status unknown_option(Verb verb, std::string_view name) {
  const std::string_view bare = name.substr(std::min(name.find_first_not_of('-'), name.size()));
  std::string others;
  std::vector<std::string> names;
  for (const OptionSpec& spec : option_table()) {
    if ((spec.verbs & verb_bit(verb)) != 0) {
      names.emplace_back(spec.name);
      if (!spec.alias.empty()) names.emplace_back(spec.alias);
    }
    if (bare != spec.name && bare != spec.alias && name != spec.short_name) continue;
    for (const VerbSpec& other : verb_table()) {
      if ((spec.verbs & verb_bit(other.verb)) == 0) continue;
      others += cat(others.empty() ? "" : ", ", other.words);
    }
  }
  const std::string_view words = verb_spec(verb).words;
  if (!others.empty() && find_option(verb, bare) == nullptr) {
    return usage_error(cat(name, " is no option of ", words, " (but of: ", others, ")"));
  }
  const auto guess = bare.size() > 1 ? did_you_mean(bare, names) : std::nullopt;
  return usage_error(cat("unknown option ", quoted(name),
                         guess ? "; did you mean --" + *guess + "?"
                               : cat("; lserve ", words, " --help-all lists them")));
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// "-5" and "-.5" are words, not options.
bool looks_negative(std::string_view word) {
  return word.size() > 1 && word[0] == '-' && (is_digit(word[1]) || word[1] == '.');
}

bool looks_like_option(std::string_view word) {
  return word.size() > 1 && word[0] == '-' && !looks_negative(word);
}

bool looks_like_model(const std::string& word) {
  return word.ends_with(".gguf") || file_exists(word) || directory_exists(word);
}

}  // namespace

Result<CommandLine> CommandLine::parse(std::span<const std::string> args,
                                       const Environment& environment) {
  CommandLine line;
  if (args.empty()) line.help_ = HelpKind::kCommon;
  for (const std::string& word : args) {
    if (word == "--") break;
    if (word == "--help-all") line.help_ = HelpKind::kAll;
    if ((word == "--help" || word == "-h") && line.help_ == HelpKind::kNone) {
      line.help_ = HelpKind::kCommon;
    }
    if (word == "--version") line.version_ = true;
  }
  const bool only_asks = line.help_ != HelpKind::kNone || line.version_;
  const bool verb_is_first = !args.empty() && !looks_like_option(args[0]);
  if (!verb_is_first && only_asks) return line;
  if (!verb_is_first) {
    return usage_error(cat("the command comes before ", quoted(args[0]), "; lserve --help"));
  }
  size_t words_used = 0;
  const Result<Verb> verb = find_verb(args, words_used);
  if (!verb.ok()) {
    if (only_asks) return line;
    return verb.status();
  }
  line.verb_ = *verb;
  if (only_asks) return line;
  ASSIGN_OR_RETURN(const auto positionals, line.take_words(args.subspan(words_used)));
  RETURN_IF_ERROR(line.take_environment(environment));
  RETURN_IF_ERROR(line.take_config_file());
  // Last: what they mean depends on whether somebody else names the model.
  RETURN_IF_ERROR(line.take_positionals(positionals));
  if (!line.get_flag("dump-config")) RETURN_IF_ERROR(line.check_complete());
  return line;
}

Status CommandLine::check_complete() const {
  const VerbSpec& verb = verb_spec(verb_);
  const std::string_view words = verb.words;
  if (find_option(verb_, "op") != nullptr) {
    if (is_set("op")) return {};
    const std::string_view help = spec("op").help;  // "all, or some of ...; instead of ..."
    return usage_error(cat(words, ": OP is missing: ", help.substr(0, help.find(';'))));
  }
  if (!get_text("model").empty()) return {};
  return usage_error(cat(words, ": MODEL is missing: a ", verb.model));
}

Result<std::vector<std::string>> CommandLine::take_words(std::span<const std::string> args) {
  std::vector<std::string> positionals;
  size_t next = 0;
  while (next < args.size()) {
    if (args[next] == "--") {
      positionals.insert(positionals.end(), args.begin() + static_cast<std::ptrdiff_t>(next) + 1,
                         args.end());
      break;
    }
    if (looks_like_option(args[next])) {
      RETURN_IF_ERROR(take_option(args, next));
    } else {
      positionals.push_back(args[next++]);
    }
  }
  return positionals;
}

// Takes the option at args[next], and the word after it if that is its value.
Status CommandLine::take_option(std::span<const std::string> args, size_t& next) {
  const std::string& word = args[next++];
  const size_t equals = word.find('=');
  std::string name = word.substr(0, equals);
  std::optional<std::string> value;
  if (equals != std::string::npos) value = word.substr(equals + 1);
  const OptionSpec* option = named_option(verb_, word);
  // "-n64": a short option of one letter with its number attached.
  if (option == nullptr && word.size() > 2 && word[1] != '-' && is_digit(word[2])) {
    name = word.substr(0, 2);
    value = word.substr(2);
    option = find_option(verb_, name);
  }
  if (option == nullptr) return unknown_option(verb_, name);
  if (!value && option->type == OptionType::kFlag) value = "true";
  if (!value) {
    // A known option in the place of a value means that the value was forgotten.
    const bool at_end = next >= args.size();
    if (at_end || args[next] == "--" || named_option(verb_, args[next]) != nullptr) {
      return usage_error(cat(name, ": the value ", option->value_name, " is missing",
                             at_end ? "" : cat(" (if meant: ", name, "=", args[next], ")")));
    }
    value = args[next++];
  }
  return store(*option, std::move(*value), OptionSource::kCommandLine, name);
}

Status CommandLine::take_positionals(std::span<const std::string> words) {
  const VerbSpec& verb = verb_spec(verb_);
  const auto is_taken = [&](std::string_view name) {
    return find_option(verb_, name) == nullptr || source(name) == OptionSource::kCommandLine;
  };
  size_t next = 0;
  constexpr std::array<std::pair<std::string_view, const char*>, 3> kPositionals = {
      {{"op", "OP"}, {"model", "MODEL"}, {"prompt", "PROMPT"}}};
  for (const auto& [name, shown] : kPositionals) {
    if (is_taken(name) || next >= words.size()) continue;
    // With LSERVE_MODEL (or a file) naming the model, a word alone is the prompt; a model that is
    // there still wins over it.
    const bool is_prompt = name == "model" && is_set("model") && words.size() == 1 &&
                           !is_taken("prompt") && !looks_like_model(words[0]);
    if (is_prompt) continue;
    RETURN_IF_ERROR(store(spec(name), words[next++], OptionSource::kCommandLine, shown));
  }
  if (next == words.size()) return {};
  return usage_error(cat("unexpected argument ", quoted(words[next]), "; usage: lserve ",
                         verb.words, " ", verb.positionals, " (a text with spaces needs quotes)"));
}

Status CommandLine::take_environment(const Environment& environment) {
  for (const OptionSpec& option : option_table()) {
    if ((option.verbs & verb_bit(verb_)) == 0 || option.command_line_only) continue;
    const std::string variable = environment_name(option);
    const char* text = environment(variable);
    if (text == nullptr || *text == '\0') continue;
    RETURN_IF_ERROR(store(option, text, OptionSource::kEnvironment, variable));
  }
  return {};
}

Status CommandLine::take_config_file() {
  const std::string path = get_text("config");
  if (path.empty()) return {};
  ASSIGN_OR_RETURN(const std::string text, read_file(path, kMaxConfigBytes, ErrorKind::kUsage));
  ASSIGN_OR_RETURN(const std::vector<ConfigEntry> entries, parse_config(text, path));
  std::map<std::string, int> seen;
  std::vector<std::string> names;
  for (const OptionSpec& option : option_table()) names.emplace_back(option.name);
  for (const ConfigEntry& entry : entries) {
    const std::string where = cat(path, ":", entry.line);
    const OptionSpec* found = find_option(verb_, entry.key);
    if (found == nullptr) {
      // One file may serve several verbs: their options are known, and not used here.
      if (std::find(names.begin(), names.end(), entry.key) != names.end()) continue;
      const auto guess = did_you_mean(entry.key, names);
      return usage_error(cat(where, ": unknown option ", quoted(entry.key),
                             guess ? "; did you mean " + *guess + "?" : ""));
    }
    if (found->command_line_only || found->name == "config") {
      return usage_error(cat(where, ": ", found->name, " cannot be set in a file"));
    }
    const auto [first, is_new] = seen.emplace(found->name, entry.line);
    if (!is_new && !found->repeatable) {
      return usage_error(cat(where, ": ", found->name, " was set in line ", first->second));
    }
    RETURN_IF_ERROR(store(*found, entry.value, OptionSource::kConfigFile, where));
  }
  return {};
}

Status CommandLine::store(const OptionSpec& option, std::string text, OptionSource source,
                          std::string where) {
  const auto existing = values_.find(option.name);
  if (existing != values_.end() && existing->second.source > source) return {};
  const bool named = source == OptionSource::kCommandLine || source == OptionSource::kEnvironment;
  RETURN_IF_ERROR(check_value(option, text, named ? where : cat(where, ": ", option.name)));
  if (existing != values_.end() && existing->second.source == source && option.repeatable) {
    existing->second.texts.push_back(std::move(text));
    return {};
  }
  values_.insert_or_assign(std::string(option.name),
                           Value{{std::move(text)}, source, std::move(where)});
  return {};
}

Status CommandLine::set_model_default(std::string_view name, std::string text,
                                      std::string_view where) {
  return store(spec(name), std::move(text), OptionSource::kModel, std::string(where));
}

const OptionSpec& CommandLine::spec(std::string_view name) const {
  const OptionSpec* found = find_option(verb_, name);
  if (found == nullptr) {
    internal::check_failed(__FILE__, __LINE__, cat("no option ", name, " in this verb"));
  }
  return *found;
}

bool CommandLine::is_set(std::string_view name) const { return values_.contains(spec(name).name); }

OptionSource CommandLine::source(std::string_view name) const {
  const auto value = values_.find(spec(name).name);
  return value == values_.end() ? OptionSource::kBuiltIn : value->second.source;
}

std::string CommandLine::text_or_default(std::string_view name) const {
  const OptionSpec& option = spec(name);
  const auto value = values_.find(option.name);
  return value == values_.end() ? std::string(option.default_text) : value->second.texts.back();
}

bool CommandLine::get_flag(std::string_view name) const {
  CHECK(spec(name).type == OptionType::kFlag);
  const std::string text = text_or_default(name);
  return !text.empty() && parse_bool(text, name).value();
}

int64_t CommandLine::get_int(std::string_view name) const {
  const OptionSpec& option = spec(name);
  const std::string text = text_or_default(name);
  if (is_number_word(option, text)) return 0;
  if (option.type == OptionType::kBytes) return parse_bytes(text, name).value();
  // A choice of numbers ("16|32|64") reads as a number too.
  return parse_count(text, name).value();
}

double CommandLine::get_number(std::string_view name) const {
  CHECK(spec(name).type == OptionType::kNumber);
  const std::string text = text_or_default(name);
  return is_number_word(spec(name), text) ? 0 : parse_double(text, name).value();
}

std::string CommandLine::get_text(std::string_view name) const {
  CHECK(!spec(name).repeatable);
  return text_or_default(name);
}

std::vector<std::string> CommandLine::get_texts(std::string_view name) const {
  const OptionSpec& option = spec(name);
  CHECK(option.repeatable || is_list(option));
  if (is_list(option)) return split_list(text_or_default(name));
  const auto value = values_.find(option.name);
  return value == values_.end() ? std::vector<std::string>() : value->second.texts;
}

std::vector<int64_t> CommandLine::get_ints(std::string_view name) const {
  CHECK(spec(name).type == OptionType::kCountList);
  std::vector<int64_t> out;
  for (const std::string& element : get_texts(name)) {
    out.push_back(parse_count(element, name).value());
  }
  return out;
}

std::string CommandLine::dump_config() const {
  std::string out = cat("# lserve ", verb_spec(verb_).words, "\n");
  for (const OptionSpec& option : option_table()) {
    if ((option.verbs & verb_bit(verb_)) == 0 || option.command_line_only) continue;
    if (option.name == "config") continue;  // its lines are here
    const auto value = values_.find(option.name);
    if (value == values_.end()) {
      const bool unset = option.default_text.empty() && option.type != OptionType::kFlag;
      out += unset ? cat("# ", option.name, " is not set\n")
                   : cat(option.name, " = ",
                         option.default_text.empty() ? "false" : option.default_text,
                         "  # built-in\n");
      continue;
    }
    for (const std::string& text : value->second.texts) {
      out += cat(option.name, " = ", config_value(text), "  # ", source_name(value->second.source),
                 " (", value->second.where, ")\n");
    }
  }
  return out;
}

}  // namespace lserve
