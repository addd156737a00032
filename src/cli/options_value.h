// One value of one option: checked, and split where it is a list.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/options_table.h"

namespace lserve {

// kUsage (kDevice for a device that this build lacks) if the text is no value of the option. `what`
// says where it came from: "--top-p", "LSERVE_TOP_P", "my.toml:3: top-p".
Status check_value(const OptionSpec& spec, std::string_view text, std::string_view what);

// The elements of a comma list; one empty element for an empty text.
std::vector<std::string> split_list(std::string_view text);

// "true", "yes", "on", "1" or their opposites.
Result<bool> parse_bool(std::string_view text, std::string_view what);

// A word that stands for a number: the default "auto", given by the user too.
bool is_number_word(const OptionSpec& spec, std::string_view text);

}  // namespace lserve
