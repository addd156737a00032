// The JSON reader: no input may do more than return an error, and what it accepts survives being
// written and read again.
#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "base/json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto value = lserve::Json::parse(text, "input");
  if (!value.ok()) return 0;
  // The second text is the first one that must come back: "-0.0" is written as "-0", an integer.
  const auto again = lserve::Json::parse(value->dump(), "again");
  CHECK(again.ok());
  const std::string text_again = again->dump();
  const auto last = lserve::Json::parse(text_again, "last");
  CHECK(last.ok());
  CHECK_EQ(last->dump(), text_again);
  return 0;
}
