// The configuration file's reader: no input may do more than return an error, and what it accepts
// survives being written and read again.
#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "base/strings.h"
#include "cli/options_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto entries = lserve::parse_config(text, "input");
  if (!entries.ok()) return 0;
  for (const lserve::ConfigEntry& entry : *entries) {
    // A line end inside a value cannot come from a file, except by an escape.
    const std::string line = lserve::cat("key = ", lserve::config_value(entry.value), "  # note\n");
    const auto again = lserve::parse_config(line, "again");
    CHECK(again.ok());
    CHECK_EQ(again->size(), size_t{1});
    CHECK_EQ(again->front().value, entry.value);
  }
  return 0;
}
