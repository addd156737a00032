// GPT-2's printable alphabet: tokenizer files write every byte as one printable character, so that
// a vocabulary of byte strings fits into JSON. Printable Latin-1 stands for itself; the other 68
// bytes are U+0100 onwards, in order.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace lserve {

// The bytes that `printable` stands for; empty if a character is not of the alphabet.
// ENSURES: a bijection between the strings of the alphabet and byte strings.
std::optional<std::string> decode_byte_alphabet(std::string_view printable);

}  // namespace lserve
