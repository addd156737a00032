#include "tokenizer/jinja_budget.h"

#include "base/strings.h"

namespace lserve::jinja {

namespace {

// All texts that a template makes, whether printed or not, in units of max_output_bytes.
constexpr int64_t kWorkPerOutput = 16;

}  // namespace

Budget::Budget(const ChatTemplateLimits& limits)
    : limits_(limits), bytes_left_(limits.max_output_bytes * kWorkPerOutput) {}

Status Budget::take_steps(int64_t steps) {
  if (steps > limits_.max_steps - steps_) {
    return model_error(
        cat("a template of more than ", limits_.max_steps, " steps is not supported"));
  }
  steps_ += steps;
  return {};
}

Status Budget::take_bytes(size_t bytes) {
  if (bytes > static_cast<uint64_t>(bytes_left_)) {
    return model_error(cat("a template that makes texts of more than ",
                           kWorkPerOutput * limits_.max_output_bytes,
                           " bytes in all is not supported"));
  }
  bytes_left_ -= static_cast<int64_t>(bytes);
  return scan(bytes);
}

Status Budget::take_product(int64_t bytes, int64_t times) {
  int64_t product = 0;
  if (times <= 0) return {};
  if (__builtin_mul_overflow(bytes, times, &product)) product = INT64_MAX;
  return take_bytes(static_cast<size_t>(product));
}

Result<Value> Budget::pay(Text text) {
  RETURN_IF_ERROR(take_bytes(text.cost()));
  return Value(std::move(text));
}

}  // namespace lserve::jinja
