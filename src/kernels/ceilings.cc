#include "kernels/ceilings.h"

#include <array>

#include "base/strings.h"

namespace lserve {

namespace {

struct Part {
  const char* name;
  const char* key;
  const char* unit;
  int digits;
  double Ceilings::*value;
};
constexpr std::array kParts = {
    Part{"copy", "copy_gb_s", "GB/s", 0, &Ceilings::copy_gb_s},
    Part{"read", "read_gb_s", "GB/s", 1, &Ceilings::read_gb_s},
    Part{"bf16", "bf16_tflop_s", "TFLOP/s", 2, &Ceilings::bf16_tflop_s},
    Part{"fp32", "fp32_tflop_s", "TFLOP/s", 2, &Ceilings::fp32_tflop_s},
    Part{"int8", "int8_top_s", "TOP/s", 2, &Ceilings::int8_top_s},
};

}  // namespace

std::string describe(const Ceilings& ceilings) {
  std::string text;
  for (const Part& part : kParts) {
    const double value = ceilings.*part.value;
    if (value == 0) continue;
    text +=
        cat(text.empty() ? "" : ", ", part.name, " ", fixed(value, part.digits), " ", part.unit);
  }
  return text.empty() ? "not measured" : text;
}

Json to_json(const Ceilings& ceilings) {
  Json json = Json::object();
  for (const Part& part : kParts) {
    if (const double value = ceilings.*part.value; value != 0) json.set(part.key, value);
  }
  return json;
}

}  // namespace lserve
