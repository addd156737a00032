#include "base/strings.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <vector>

namespace lserve {

namespace internal {
void append(std::string& out, double value) {
  std::array<char, 32> buffer{};
  std::snprintf(buffer.data(), buffer.size(), "%g", value);
  out += buffer.data();
}
}  // namespace internal

std::string fixed(double value, int digits) {
  std::array<char, 64> buffer{};
  std::snprintf(buffer.data(), buffer.size(), "%.*f", digits, value);
  return buffer.data();
}

std::string with_separators(int64_t value) {
  const std::string digits = std::to_string(value);
  const size_t start = value < 0 ? 1 : 0;
  std::string out = digits.substr(0, start);
  for (size_t i = start; i < digits.size(); ++i) {
    if (i > start && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out;
}

std::string human_bytes(uint64_t bytes) {
  static constexpr std::array<const char*, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return cat(fixed(value, unit == 0 ? 0 : 2), " ", kUnits[unit]);
}

Result<int64_t> parse_int(std::string_view text, std::string_view what) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) {
    return usage_error(cat(what, ": ", quoted(text), " is not a whole number"));
  }
  return value;
}

Result<double> parse_double(std::string_view text, std::string_view what) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) {
    return usage_error(cat(what, ": ", quoted(text), " is not a number"));
  }
  return value;
}

namespace {

struct Unit {
  std::string_view suffix;
  int64_t factor;
};
constexpr int64_t kKi = 1024;
constexpr std::array<Unit, 6> kCountUnits = {{{"k", kKi},
                                              {"K", kKi},
                                              {"m", kKi* kKi},
                                              {"M", kKi* kKi},
                                              {"g", kKi* kKi* kKi},
                                              {"G", kKi* kKi* kKi}}};
constexpr std::array<Unit, 8> kByteUnits = {{{"KiB", kKi},
                                             {"MiB", kKi* kKi},
                                             {"GiB", kKi* kKi* kKi},
                                             {"TiB", kKi* kKi* kKi* kKi},
                                             {"kB", 1000},
                                             {"MB", 1000 * 1000},
                                             {"GB", 1000LL * 1000 * 1000},
                                             {"B", 1}}};

// A number with an optional unit; the fraction ("1.5GiB") must come out whole.
Result<int64_t> parse_with_units(std::string_view text, std::span<const Unit> units,
                                 std::string_view what) {
  std::string_view number = text;
  int64_t factor = 1;
  for (const Unit& unit : units) {
    if (text.size() > unit.suffix.size() && text.ends_with(unit.suffix)) {
      number = text.substr(0, text.size() - unit.suffix.size());
      factor = unit.factor;
      break;
    }
  }
  const Result<double> value = parse_double(number, what);
  const double scaled = value.ok() ? *value * static_cast<double>(factor) : -1;
  if (!value.ok() || scaled != std::floor(scaled) || std::abs(scaled) > 9e15) {
    return usage_error(cat(what, ": ", quoted(text), " is not a size (examples: 4096, 32k, 1.5M)"));
  }
  return static_cast<int64_t>(scaled);
}

}  // namespace

Result<int64_t> parse_count(std::string_view text, std::string_view what) {
  return parse_with_units(text, kCountUnits, what);
}

Result<int64_t> parse_bytes(std::string_view text, std::string_view what) {
  std::vector<Unit> units(kByteUnits.begin(), kByteUnits.end());
  units.insert(units.end(), kCountUnits.begin(), kCountUnits.end());
  return parse_with_units(text, units, what);
}

std::string quoted(std::string_view text) {
  static constexpr size_t kMaxBytes = 64;
  std::string out = "\"";
  for (const char c : text.substr(0, kMaxBytes)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      std::array<char, 8> escaped{};
      std::snprintf(escaped.data(), escaped.size(), "\\x%02x", byte);
      out += escaped.data();
    } else {
      out += c;
    }
  }
  return out + (text.size() > kMaxBytes ? "...\"" : "\"");
}

namespace {

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substitute = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitute});
    }
  }
  return row[b.size()];
}

}  // namespace

std::optional<std::string> did_you_mean(std::string_view word,
                                        std::span<const std::string> candidates) {
  std::optional<std::string> best;
  size_t best_distance = word.size() / 3 + 2;
  for (const std::string& candidate : candidates) {
    const size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

}  // namespace lserve
