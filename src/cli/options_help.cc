// Help, written from the option table.
#include <algorithm>
#include <vector>

#include "base/strings.h"
#include "cli/options.h"

namespace lserve {

namespace {

constexpr size_t kIndent = 30;  // where the explanations begin
constexpr size_t kWidth = 100;

constexpr std::string_view kExitCodes =
    "Exit codes: 0 ok  1 error  2 usage or prompt too long  3 model file  4 memory  5 device  130 "
    "Ctrl-C\n";

// Appends `text` from column kIndent on, in as many lines as it needs.
void append_wrapped(std::string& out, size_t column, std::string_view text) {
  bool first_word = true;
  if (column + 2 > kIndent) {
    out += '\n';
    column = 0;
  }
  out.append(kIndent - column, ' ');
  column = kIndent;
  while (!text.empty()) {
    const size_t space = std::min(text.find(' '), text.size());
    if (!first_word && column + 1 + space > kWidth) {
      out += '\n';
      out.append(kIndent, ' ');
      column = kIndent;
    } else if (!first_word) {
      out += ' ';
      ++column;
    }
    out += text.substr(0, space);
    column += space;
    first_word = false;
    text.remove_prefix(std::min(space + 1, text.size()));
  }
  out += '\n';
}

std::string option_line(const OptionSpec& option, HelpKind kind) {
  std::string out = "  ";
  if (!option.short_name.empty()) out += cat(option.short_name, ", ");
  out += cat("--", option.name);
  if (option.type != OptionType::kFlag) out += cat(" ", option.value_name);
  std::string text(option.help);
  if (!option.default_text.empty()) text += cat(" (default ", option.default_text, ")");
  if (kind == HelpKind::kAll) {
    if (!option.alias.empty()) text += cat(" [also --", option.alias, "]");
    if (!option.command_line_only) text += cat(" [", environment_name(option), "]");
  }
  append_wrapped(out, out.size(), text);
  return out;
}

std::string verbs_text() {
  std::string out =
      "lserve answers over long contexts with dense or sparse attention (LServe, MLSys 2025).\n\n"
      "Usage: lserve COMMAND [OPTIONS] MODEL ...      MODEL: Hugging Face directory or .gguf "
      "file\n\nCommands:\n";
  for (const VerbSpec& verb : verb_table()) {
    std::string line = cat("  ", verb.words, " ", verb.positionals);
    append_wrapped(line, line.size(), verb.summary);
    out += line;
  }
  out +=
      "\nlserve COMMAND --help explains a command, --help-all all its options; lserve --version.\n";
  return out + std::string(kExitCodes);
}

}  // namespace

std::string help_text(Verb verb, HelpKind kind) {
  if (verb == Verb::kNone) return verbs_text();
  const VerbSpec& spec = verb_spec(verb);
  std::string out =
      cat("Usage: lserve ", spec.words, " [OPTIONS] ", spec.positionals, "\n", spec.summary, "\n");
  if (spec.positionals.starts_with("MODEL")) {
    out += cat("MODEL: ", spec.model, "\n");
  }
  std::string_view group;
  for (const OptionSpec& option : option_table()) {
    if ((option.verbs & verb_bit(verb)) == 0) continue;
    if (kind != HelpKind::kAll && !option.common) continue;
    if (option.group != group) {
      group = option.group;
      out += cat("\n", group, ":\n");
    }
    out += option_line(option, kind);
  }
  out +=
      "\nEvery option can also be an environment variable (--top-p: LSERVE_TOP_P) or a line of a\n"
      "--config file (top-p = 0.9). Command line > environment > file > model > built-in.\n";
  if (kind != HelpKind::kAll) {
    out += cat("More options: lserve ", spec.words, " --help-all\n");
  }
  return out + std::string(kExitCodes);
}

}  // namespace lserve
