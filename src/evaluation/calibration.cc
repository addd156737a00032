#include "evaluation/calibration.h"

#include <algorithm>
#include <cmath>

#include "base/strings.h"
#include "evaluation/calibration_rounding.h"
#include "evaluation/calibration_scales.h"
#include "quant/convert_rows.h"

namespace lserve {

namespace {

constexpr int64_t kSampleRows = 512;    // that scales of keys are chosen with
constexpr int64_t kPlainTokens = 1024;  // that the plainly rounded model reads, about

FloatMatrix first_rows_of(const FloatMatrix& x, int64_t count) {
  FloatMatrix out(count, x.columns);
  std::copy_n(x.values.begin(), out.values.size(), out.values.begin());
  return out;
}

FloatMatrix minus(FloatMatrix a, const FloatMatrix& b) {
  add(-1, b, &a);
  return a;
}

void divide_columns(std::span<const float> scales, FloatMatrix* x) {
  std::vector<float> factors;
  for (const float scale : scales) factors.push_back(1 / scale);
  scale_columns(factors, x);
}

double squares(const FloatMatrix& x) {
  double sum = 0;
  for (const float value : x.values) sum += double{value} * double{value};
  return sum;
}

int threads_of(const WeightChoice& choice) {
  return choice.num_threads > 0 ? choice.num_threads : ThreadPool::available_threads();
}

}  // namespace

Calibration::Calibration(std::unique_ptr<Checkpoint> checkpoint, const WeightChoice& choice,
                         const CalibrationOptions& options, std::unique_ptr<Backend> backend)
    : checkpoint_(std::move(checkpoint)),
      choice_(choice),
      format_(*choice.layers),
      options_(options),
      backend_(std::move(backend)),
      pool_(threads_of(choice)),
      calculator_{*backend_, pool_},
      segments_(make_segments(checkpoint_->config(), options.segment)) {}

Result<std::unique_ptr<Calibration>> Calibration::open(std::unique_ptr<Checkpoint> checkpoint,
                                                       const WeightChoice& choice,
                                                       std::span<const int32_t> tokens,
                                                       const CalibrationOptions& options) {
  if (!choice.layers || !is_row_quantised(*choice.layers)) {
    return usage_error("--calibrate is of the layers: name their format with --weights");
  }
  if (static_cast<int64_t>(tokens.size()) < kLeastCalibrationTokens) {
    return usage_error(cat("the calibration text has ", tokens.size(), " tokens, fewer than the ",
                           kLeastCalibrationTokens, " that are needed; some thousands are good"));
  }
  ASSIGN_OR_RETURN(auto backend,
                   make_backend({.kind = BackendKind::kCpu, .num_threads = threads_of(choice)}));
  std::unique_ptr<Calibration> calibration(
      new Calibration(std::move(checkpoint), choice, options, std::move(backend)));
  RETURN_IF_ERROR(calibration->embed(tokens));
  return calibration;
}

Result<FloatMatrix> Calibration::embedded(const RawWeight& table, std::span<const int32_t> tokens) {
  ASSIGN_OR_RETURN(const Weight weight, backend_->load_weight(table));
  FloatMatrix out(static_cast<int64_t>(tokens.size()), table.columns);
  backend_->embed({&weight, tokens, out.view()});
  backend_->synchronize();
  return out;
}

Status Calibration::embed(std::span<const int32_t> tokens) {
  num_tokens_ = static_cast<int64_t>(tokens.size());
  const TensorInfo* tensor = checkpoint_->find("model.embed_tokens.weight");
  if (tensor == nullptr)
    return model_error("the checkpoint has no tensor model.embed_tokens.weight");
  std::vector<std::byte> bytes(tensor->bytes);
  RETURN_IF_ERROR(checkpoint_->read_tensor(*tensor, bytes));
  const MatrixRows table{tensor->format, tensor->shape[0], tensor->shape[1]};
  ASSIGN_OR_RETURN(original_, embedded({table.format, table.rows, table.columns, bytes}, tokens));
  rounded_ = original_;
  if (choice_.head) {
    std::vector<std::byte> converted(matrix_bytes({*choice_.head, table.rows, table.columns}));
    convert_rows(table, bytes, *choice_.head, converted, &pool_);
    ASSIGN_OR_RETURN(rounded_,
                     embedded({*choice_.head, table.rows, table.columns, converted}, tokens));
  }
  const int64_t whole = std::max(kPlainTokens / segments_.segment, int64_t{1}) * segments_.segment;
  plain_ = first_rows_of(rounded_, std::min(whole, num_tokens_));
  return {};
}

Json Calibration::describe() const {
  return Json::object()
      .set("method", "scales, corrected inputs, error feedback")
      .set("tokens", num_tokens_)
      .set("segment", options_.segment)
      .set("strength", options_.strength)
      .set("damping", options_.damping)
      .set("ridge", options_.ridge);
}

Result<LayerScales> Calibration::choose(const LayerFloats& layer, const LayerInputs& inputs) {
  const ModelConfig& config = checkpoint_->config();
  const auto kv_channels = static_cast<size_t>(config.num_kv_heads * config.head_dim);
  LayerScales scales;
  const auto search = [&](const FloatMatrix& x, std::vector<const FloatMatrix*> matrices,
                          std::span<const int64_t> shared) -> Result<std::vector<float>> {
    return choose_scales(format_, x, matrices, shared, options_.damping, calculator_);
  };
  ASSIGN_OR_RETURN(scales.qkv, search(inputs.qkv, {&layer.q, &layer.k, &layer.v}, {}));
  ASSIGN_OR_RETURN(scales.gate_up, search(inputs.gate_up, {&layer.gate, &layer.up}, {}));
  ASSIGN_OR_RETURN(scales.down, search(inputs.down, {&layer.down}, {}));
  const std::vector<int64_t> shared = value_channels(config);
  ASSIGN_OR_RETURN(const std::vector<float> of_columns, search(inputs.o, {&layer.o}, shared));
  scales.values.resize(kv_channels);
  for (size_t c = 0; c < shared.size(); ++c) {
    scales.values[static_cast<size_t>(shared[c])] = of_columns[c];
  }
  scales.keys = choose_key_scales(config, sample_rows(inputs.q, kSampleRows),
                                  sample_rows(inputs.k, kSampleRows), calculator_);
  return scales;
}

Result<std::vector<Calibration::Rows>> Calibration::round(const Group& group, FloatMatrix original,
                                                          const FloatMatrix& rounded) {
  ASSIGN_OR_RETURN(const RoundingInputs inputs,
                   rounding_inputs(format_, std::move(original), rounded, options_.damping,
                                   options_.ridge, calculator_));
  std::vector<Rows> all;
  for (const FloatMatrix* matrix : group.matrices) {
    FloatMatrix w = *matrix;
    RETURN_IF_ERROR(correct_for_inputs(inputs, group.missing, static_cast<float>(options_.strength),
                                       calculator_, &w));
    ASSIGN_OR_RETURN(Rows rows, round_matrix(format_, w, inputs, calculator_));
    all.push_back(std::move(rows));
  }
  return all;
}

Result<FloatMatrix> Calibration::project(const FloatMatrix& x, const FloatMatrix& w,
                                         const Rows& rows, const FloatVector& bias) const {
  Calculator calculator = calculator_;
  const LayerRunner runner{checkpoint_->config(), segments_, calculator};
  return runner.project(x, RawWeight{format_, w.rows, w.columns, rows}, bias);
}

Status Calibration::round_layer(const LayerFloats& layer, const FloatMatrix& before,
                                const FloatMatrix& between, LayerInputs inputs, Tensors* tensors,
                                const std::string& prefix) {
  const ModelConfig& config = checkpoint_->config();
  const LayerRunner runner{config, segments_, calculator_};
  const auto keep = [&](const char* name, Rows& rows) {
    tensors->insert_or_assign(cat(prefix, name, ".weight"), std::move(rows));
  };
  FloatMatrix x = runner.norm(rounded_, layer.attention_norm);
  ASSIGN_OR_RETURN(auto rows, round({{&layer.q, &layer.k, &layer.v}}, std::move(inputs.qkv), x));
  ASSIGN_OR_RETURN(FloatMatrix q, project(x, layer.q, rows[0], layer.q_bias));
  ASSIGN_OR_RETURN(FloatMatrix k, project(x, layer.k, rows[1], layer.k_bias));
  ASSIGN_OR_RETURN(const FloatMatrix v, project(x, layer.v, rows[2], layer.v_bias));
  keep("self_attn.q_proj", rows[0]);
  keep("self_attn.k_proj", rows[1]);
  keep("self_attn.v_proj", rows[2]);
  turn(segments_, config.head_dim, &q, &pool_);
  turn(segments_, config.head_dim, &k, &pool_);

  x = attend(config, segments_, q, k, v, &pool_);
  FloatMatrix missing = minus(before, rounded_);
  ASSIGN_OR_RETURN(rows, round({{&layer.o}, &missing}, std::move(inputs.o), x));
  ASSIGN_OR_RETURN(FloatMatrix output, project(x, layer.o, rows[0], {}));
  add(1, output, &rounded_);
  keep("self_attn.o_proj", rows[0]);

  x = runner.norm(rounded_, layer.mlp_norm);
  ASSIGN_OR_RETURN(rows, round({{&layer.gate, &layer.up}}, std::move(inputs.gate_up), x));
  ASSIGN_OR_RETURN(FloatMatrix gate, project(x, layer.gate, rows[0], {}));
  ASSIGN_OR_RETURN(FloatMatrix up, project(x, layer.up, rows[1], {}));
  runner.gate(&gate, &up);
  keep("mlp.gate_proj", rows[0]);
  keep("mlp.up_proj", rows[1]);

  missing = minus(between, rounded_);
  ASSIGN_OR_RETURN(rows, round({{&layer.down}, &missing}, std::move(inputs.down), gate));
  ASSIGN_OR_RETURN(output, project(gate, layer.down, rows[0], {}));
  add(1, output, &rounded_);
  keep("mlp.down_proj", rows[0]);
  return {};
}

Status Calibration::run_plain(const LayerFloats& layer) {
  const ModelConfig& config = checkpoint_->config();
  const LayerRunner runner{config, segments_, calculator_};
  const auto of = [&](const FloatMatrix& input, const FloatMatrix& w, const FloatVector& bias) {
    return project(input, w, round_plainly(format_, w, &pool_), bias);
  };
  FloatMatrix x = runner.norm(plain_, layer.attention_norm);
  ASSIGN_OR_RETURN(FloatMatrix q, of(x, layer.q, layer.q_bias));
  ASSIGN_OR_RETURN(FloatMatrix k, of(x, layer.k, layer.k_bias));
  ASSIGN_OR_RETURN(const FloatMatrix v, of(x, layer.v, layer.v_bias));
  turn(segments_, config.head_dim, &q, &pool_);
  turn(segments_, config.head_dim, &k, &pool_);
  ASSIGN_OR_RETURN(FloatMatrix output, of(attend(config, segments_, q, k, v, &pool_), layer.o, {}));
  add(1, output, &plain_);
  x = runner.norm(plain_, layer.mlp_norm);
  ASSIGN_OR_RETURN(FloatMatrix gate, of(x, layer.gate, {}));
  ASSIGN_OR_RETURN(FloatMatrix up, of(x, layer.up, {}));
  runner.gate(&gate, &up);
  ASSIGN_OR_RETURN(output, of(gate, layer.down, {}));
  add(1, output, &plain_);
  return {};
}

Result<LayerRewriter::Tensors> Calibration::rewrite(int64_t layer_index) {
  ASSIGN_OR_RETURN(LayerFloats layer, read_layer(*checkpoint_, layer_index));
  RETURN_IF_ERROR(run_plain(layer));
  const LayerRunner runner{checkpoint_->config(), segments_, calculator_};
  const FloatMatrix before = original_;
  FloatMatrix between;
  ASSIGN_OR_RETURN(LayerInputs inputs, runner.run(layer, &original_, &between));
  ASSIGN_OR_RETURN(LayerScales scales, choose(layer, inputs));
  fold(checkpoint_->config(), &scales, &layer);
  divide_columns(scales.qkv, &inputs.qkv);
  divide_columns(scales.gate_up, &inputs.gate_up);
  divide_columns(scales.down, &inputs.down);
  std::vector<float> of_columns;
  for (const int64_t channel : value_channels(checkpoint_->config())) {
    of_columns.push_back(scales.values[static_cast<size_t>(channel)]);
  }
  divide_columns(of_columns, &inputs.o);
  const std::vector<int64_t> order = inner_order(inputs.down);
  reorder_inner(order, &layer);
  reorder_columns(order, &inputs.down);

  Tensors tensors;
  const std::string prefix = cat("model.layers.", layer_index, ".");
  tensors[prefix + "input_layernorm.weight"] = stored(layer.attention_norm);
  tensors[prefix + "post_attention_layernorm.weight"] = stored(layer.mlp_norm);
  for (const auto& [bias, name] :
       {std::pair(&layer.q_bias, "q_proj"), {&layer.k_bias, "k_proj"}, {&layer.v_bias, "v_proj"}}) {
    if (!bias->values.empty()) tensors[cat(prefix, "self_attn.", name, ".bias")] = stored(*bias);
  }
  RETURN_IF_ERROR(round_layer(layer, before, between, std::move(inputs), &tensors, prefix));
  const FloatMatrix compared = first_rows_of(original_, plain_.rows);
  const double whole = squares(compared);
  const LayerError error{squared_distance(plain_, compared) / whole,
                         squared_distance(first_rows_of(rounded_, plain_.rows), compared) / whole};
  if (!std::isfinite(error.calibrated)) {
    return model_error(cat("layer ", layer_index,
                           ": what the calibrated weights make of the text is ",
                           "not finite; quantise without --calibrate"));
  }
  errors_.push_back(error);
  return tensors;
}

}  // namespace lserve
