#include "checkpoint/tokenizer_steps.h"

#include <algorithm>

#include "base/strings.h"

namespace lserve {

namespace {

bool is_absent(const Json* value) { return value == nullptr || value->is_null(); }

}  // namespace

Status check_members(const Json& object, std::string_view where,
                     std::initializer_list<std::string_view> allowed) {
  if (!object.is_object()) return model_error(cat(where, ": not an object"));
  for (const auto& [key, value] : object.as_object()) {
    if (std::find(allowed.begin(), allowed.end(), key) == allowed.end()) {
      return unsupported_step(where, cat("the member ", quoted(key)));
    }
  }
  return {};
}

Result<bool> bool_member(const Json& object, std::string_view key, bool fallback,
                         std::string_view where) {
  const Json* value = object.find(key);
  if (is_absent(value)) return fallback;
  if (!value->is_bool()) return model_error(cat(where, ": ", key, " is not true or false"));
  return value->as_bool();
}

Result<std::string> text_member(const Json& object, std::string_view key, std::string_view where) {
  const Json* value = object.find(key);
  if (is_absent(value)) return std::string();
  if (!value->is_string()) return model_error(cat(where, ": ", key, " is not a string"));
  return value->as_string();
}

Status unsupported_step(std::string_view where, std::string_view what) {
  return model_error(cat(where, ": ", what, " is not supported"));
}

Result<std::vector<const Json*>> flatten_steps(const Json* step, std::string_view list_key,
                                               std::string_view where) {
  std::vector<const Json*> steps;
  if (is_absent(step)) return steps;
  ASSIGN_OR_RETURN(const std::string type, text_member(*step, "type", where));
  if (type != "Sequence") {
    steps.push_back(step);
    return steps;
  }
  RETURN_IF_ERROR(check_members(*step, where, {"type", list_key}));
  const Json* list = step->find(list_key);
  if (list == nullptr || !list->is_array()) {
    return model_error(cat(where, ": a Sequence without a list of ", list_key));
  }
  for (const Json& element : list->as_array()) steps.push_back(&element);
  return steps;
}

}  // namespace lserve
