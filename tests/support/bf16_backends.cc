// See bf16_backends.h.
#include "support/bf16_backends.h"

#include <algorithm>
#include <numbers>
#include <vector>

#include "kernels/forwarding_backend.h"
#include "tensor/dtype.h"

namespace lserve::testing {

namespace {

// The rows as the inner backend is to load them.
struct Bf16Rows {
  std::vector<bf16> values;
  RawWeight raw;

  explicit Bf16Rows(const RawWeight& from)
      : values(static_cast<size_t>(from.rows * from.columns)),
        raw{WeightFormat::kBF16, from.rows, from.columns, std::as_bytes(std::span(values))} {
    const auto columns = static_cast<size_t>(from.columns);
    const size_t bytes = *row_bytes(from.format, columns);
    std::vector<float> row(columns);
    for (size_t r = 0; r < static_cast<size_t>(from.rows); ++r) {
      dequantise_row(from.format, from.data.subspan(r * bytes, bytes), row);
      std::transform(row.begin(), row.end(), values.begin() + static_cast<int64_t>(r * columns),
                     to_bf16);
    }
  }
};

class Bf16WeightBackend : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;

  Result<Weight> load_weight(const RawWeight& raw) override {
    return inner().load_weight(Bf16Rows(raw).raw);
  }
  int64_t weight_bytes(WeightFormat, int64_t rows, int64_t columns) const override {
    return ForwardingBackend::weight_bytes(WeightFormat::kBF16, rows, columns);
  }
};

class Bf16ActivationBackend final : public Bf16WeightBackend {
 public:
  using Bf16WeightBackend::Bf16WeightBackend;

  void linear(const LinearParams& params) override {
    LinearParams p = params;
    if (params.rows == RowCount::kMany && !params.precise) p.x = rounded(params.x, 1);
    inner().linear(p);
  }
  void prefill_attention(const PrefillAttentionParams& params) override {
    PrefillAttentionParams p = params;
    p.q = rounded(params.q, params.softmax_scale * std::numbers::log2e_v<float>);
    inner().prefill_attention(p);
  }

 private:
  // The values so that factor times them is in bf16; valid until the next call.
  TensorView rounded(const TensorView& x, float factor) {
    const auto* from = x.as<float>();
    values_.resize(static_cast<size_t>(x.shape.num_elements()));
    std::transform(from, from + values_.size(), values_.begin(),
                   [factor](float value) { return to_float(to_bf16(value * factor)) / factor; });
    return {values_.data(), x.shape};
  }
  std::vector<float> values_;
};

}  // namespace

std::unique_ptr<Backend> make_bf16_weight_backend(std::unique_ptr<Backend> inner) {
  return std::make_unique<Bf16WeightBackend>(std::move(inner));
}

std::unique_ptr<Backend> make_bf16_activation_backend(std::unique_ptr<Backend> inner) {
  return std::make_unique<Bf16ActivationBackend>(std::move(inner));
}

}  // namespace lserve::testing
