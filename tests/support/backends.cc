// The list of backends under test; see backends.h.
#include "support/backends.h"

#include "support/mirror_backend.h"

namespace lserve::testing {

const std::vector<BackendCase>& available_backends() {
  static const std::vector<BackendCase> backends = [] {
    struct Candidate {
      const char* name;
      BackendKind kind;
      CpuIsa isa;
    };
    std::vector<BackendCase> found;
    for (const Candidate& c :
         {Candidate{"reference", BackendKind::kReference, CpuIsa::kAuto},
          Candidate{"cpu_generic", BackendKind::kCpu, CpuIsa::kGeneric},
          Candidate{"cpu_avx2", BackendKind::kCpu, CpuIsa::kAvx2},
          Candidate{"cpu_avx512", BackendKind::kCpu, CpuIsa::kAvx512},
          Candidate{"cpu_avx512_bf16", BackendKind::kCpu, CpuIsa::kAvx512Bf16}}) {
      auto made = make_backend({.kind = c.kind, .num_threads = 2, .isa = c.isa});
      if (!made.ok()) continue;
      found.push_back({c.name, std::move(made).value(), c.kind == BackendKind::kReference,
                       c.isa == CpuIsa::kAvx512Bf16 ? 0x1p-9 : 0, false});
    }
    auto cuda = make_backend({.kind = BackendKind::kCuda, .num_threads = 2});
    if (cuda.ok()) {
      found.push_back({.name = "cuda",
                       .backend = make_mirror_backend(std::move(cuda).value()),
                       .prefill_rounding = 0x1p-9,
                       .bf16_matrices = true});
    }
    return found;
  }();
  return backends;
}

void as_stored(const Backend& backend, std::span<float> values) {
  if (!backend.arithmetic().starts_with("cuda")) return;
  for (float& x : values) x = to_float(to_bf16(x));
}

Weight load(Backend* backend, WeightFormat format, int64_t rows, int64_t columns,
            std::span<const std::byte> data) {
  auto weight = backend->load_weight({format, rows, columns, data});
  CHECK(weight.ok());
  return std::move(weight).value();
}

}  // namespace lserve::testing
