// What a template may cost. Every node, loop turn, list element made and kilobyte of text made or
// looked through is a step; texts count by the byte besides. Whoever makes something larger than
// its operands asks first.
#pragma once

#include <cstdint>
#include <utility>

#include "base/status.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/jinja_value.h"

namespace lserve::jinja {

class Budget {
 public:
  explicit Budget(const ChatTemplateLimits& limits);

  const ChatTemplateLimits& limits() const { return limits_; }
  // Errors (kModel, without a line) name the limit, for all of these.
  Status take_steps(int64_t steps);
  // For looking through a text.
  Status scan(size_t bytes) { return take_steps(static_cast<int64_t>(bytes) / kBytesPerStep); }
  // For the making of a text of that many bytes, or of that many bytes `times` over.
  Status take_bytes(size_t bytes);
  Status take_product(int64_t bytes, int64_t times);
  // A text just made.
  Result<Value> pay(Text text);

 private:
  static constexpr int64_t kBytesPerStep = 1024;
  ChatTemplateLimits limits_;
  int64_t steps_ = 0;
  int64_t bytes_left_;
};

}  // namespace lserve::jinja
