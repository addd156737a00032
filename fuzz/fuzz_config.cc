// config.json and generation_config.json: the input up to the first NUL is the one, the rest the
// other. What is accepted must be within the limits that all later arithmetic relies on.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "base/json.h"
#include "checkpoint/hf_config.h"
#include "checkpoint/stored_tensor.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lserve;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t cut = std::min(input.find('\0'), size);
  const auto config_json = Json::parse(input.substr(0, cut), "config.json");
  if (!config_json.ok() || !config_json->is_object()) return 0;
  Result<Json> generation = Json();
  if (cut < size) generation = Json::parse(input.substr(cut + 1), "generation_config.json");
  const bool has_generation = generation.ok() && generation->is_object();
  const auto config =
      parse_hf_config(*config_json, "config.json", has_generation ? &*generation : nullptr,
                      "generation_config.json");
  if (!config.ok()) {
    CHECK(config.status().kind() == ErrorKind::kModel);
    return 0;
  }
  CHECK(config->head_dim == 64 || config->head_dim == 128);
  CHECK(config->gqa_group_size() >= 1 && config->gqa_group_size() <= 8);
  CHECK(config->rms_norm_eps > 0 && config->rope.theta >= 1 && config->rope.factor >= 1);
  for (const ExpectedTensor& tensor : expected_tensors(*config)) {
    for (const int64_t dim : tensor.shape) CHECK(dim > 0 && dim <= 1 << 24);
  }
  return 0;
}
