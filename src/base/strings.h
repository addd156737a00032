// Text for people: joining, numbers with units, and what a misspelt word may have meant.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/status.h"

namespace lserve {

namespace internal {
inline void append(std::string& out, std::string_view text) { out += text; }
inline void append(std::string& out, const std::string& text) { out += text; }
inline void append(std::string& out, const char* text) { out += text; }
inline void append(std::string& out, char c) { out += c; }
inline void append(std::string& out, bool b) { out += b ? "true" : "false"; }
void append(std::string& out, double value);
template <typename T>
requires std::is_integral_v<T>
void append(std::string& out, T value) { out += std::to_string(value); }
}  // namespace internal

// The arguments (text, integers, floating point in %g) one after the other.
template <typename... Args>
std::string cat(const Args&... args) {
  std::string out;
  (internal::append(out, args), ...);
  return out;
}

// printf-style "%.*f".
std::string fixed(double value, int digits);
// 1234567 -> "1,234,567".
std::string with_separators(int64_t value);
// 12884901888 -> "12.00 GiB"; below 1 KiB: "512 B".
std::string human_bytes(uint64_t bytes);

// "4096", "32k" (x1024), "1M" (x1024^2), "1G". An error names `what` and quotes the text.
Result<int64_t> parse_count(std::string_view text, std::string_view what);
// As parse_count, also with "KiB", "MiB", "GiB", "TiB", "kB", "MB", "GB" (the last three x1000^n).
Result<int64_t> parse_bytes(std::string_view text, std::string_view what);
Result<int64_t> parse_int(std::string_view text, std::string_view what);
// Finite numbers only.
Result<double> parse_double(std::string_view text, std::string_view what);

// At most 64 bytes of `text` with control bytes as \xNN: safe to put into a message.
std::string quoted(std::string_view text);

// The candidate nearest to `word` by edit distance, if it is near enough to be a misspelling.
std::optional<std::string> did_you_mean(std::string_view word,
                                        std::span<const std::string> candidates);

}  // namespace lserve
