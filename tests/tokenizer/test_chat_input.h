// A row of the chat template goldens as the renderer takes it.
#pragma once

#include <optional>
#include <string>

#include "base/json.h"
#include "tokenizer/chat_template.h"

namespace lserve {

// When the goldens were rendered: Tuesday, 3 February 2026, 04:05:06.
inline std::tm golden_time() {
  std::tm time{};
  time.tm_year = 126;
  time.tm_mon = 1;
  time.tm_mday = 3;
  time.tm_hour = 4;
  time.tm_min = 5;
  time.tm_sec = 6;
  time.tm_wday = 2;
  time.tm_yday = 33;
  return time;
}

// Members that the row lacks are those of a model without tokens, asked for an answer to nothing.
inline ChatInput chat_input_of(const Json& row) {
  ChatInput input;
  const auto take = [&](const char* name, Json& target) {
    if (const Json* value = row.find(name)) target = *value;
  };
  take("messages", input.messages);
  take("tools", input.tools);
  take("documents", input.documents);
  take("variables", input.variables);
  if (const Json* prompt = row.find("add_generation_prompt")) {
    input.add_generation_prompt = prompt->as_bool();
  }
  if (const Json* bos = row.find("bos_token")) input.bos_token = bos->as_string();
  if (const Json* eos = row.find("eos_token")) input.eos_token = eos->as_string();
  input.now = golden_time();
  return input;
}

}  // namespace lserve
