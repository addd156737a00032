// How tokenizer files spell bytes and spaces.
//
// GPT-2's printable alphabet writes every byte as one printable character, so that a vocabulary of
// byte strings fits into JSON: printable Latin-1 stands for itself; the other 68 bytes are U+0100
// onwards, in order. SentencePiece writes characters, U+2581 for a space, and "<0x0A>" for a byte.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace lserve {

// The bytes that `printable` stands for; empty if a character is not of the alphabet.
// ENSURES: a bijection between the strings of the alphabet and byte strings.
std::optional<std::string> decode_byte_alphabet(std::string_view printable);

// The byte of "<0x0A>", with capital digits; empty if `name` is not of that form.
std::optional<unsigned char> parse_byte_token(std::string_view name);
// `piece` with a blank for every U+2581.
std::string spaces_of_symbols(std::string_view piece);

}  // namespace lserve
