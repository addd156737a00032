// Unicode's normalisation form C, which Qwen2's tokenizer applies to text first.
//
// Agrees with PyPI tokenizers 0.23.3, which knows the combining classes of Unicode 9: the marks
// that came later (listed in the .cc) keep their places, as it leaves them.
#pragma once

#include <string>
#include <string_view>

namespace lserve {

// Whether `text` certainly is in form C, by a quick look: nothing in it is U+0300 or above.
bool is_quickly_nfc(std::string_view text);
// `text` in form C; bytes that are no UTF-8 stay as they are. O(n log n), stack independent of n.
std::string to_nfc(std::string_view text);

}  // namespace lserve
