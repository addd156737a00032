// Access to the steps around the model in tokenizer.json, an untrusted document. Every refusal
// names the step.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"

namespace lserve {

// Fails if `object` is no object or has a member outside `allowed`.
Status check_members(const Json& object, std::string_view where,
                     std::initializer_list<std::string_view> allowed);
// The member's value or `fallback` if there is none (or null); an error if it is no bool.
Result<bool> bool_member(const Json& object, std::string_view key, bool fallback,
                         std::string_view where);
// The member's text; empty if there is none (or null); an error if it is no string.
Result<std::string> text_member(const Json& object, std::string_view key, std::string_view where);

// "`where`: `what` is not supported".
Status unsupported_step(std::string_view where, std::string_view what);
// The elements of a Sequence under `list_key`, or the step itself; an absent step has none.
Result<std::vector<const Json*>> flatten_steps(const Json* step, std::string_view list_key,
                                               std::string_view where);

}  // namespace lserve
