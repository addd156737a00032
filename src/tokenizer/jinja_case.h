// Upper, lower and title case of whole texts as Python's str makes them: characters that become
// several ("ß" to "SS") and the final sigma included.
#pragma once

#include <string_view>

#include "tokenizer/jinja_text.h"

namespace lserve::jinja {

Text to_upper(const Text& text);
Text to_lower(const Text& text);
Text capitalise(const Text& text);   // str.capitalize
Text title_words(const Text& text);  // str.title
Text swap_case(const Text& text);

// str.islower, str.isupper.
bool is_lower(std::string_view text);
bool is_upper(std::string_view text);
// repr shows it as it is.
bool is_printable(char32_t code_point);

}  // namespace lserve::jinja
