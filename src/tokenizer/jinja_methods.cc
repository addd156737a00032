#include "tokenizer/jinja_methods.h"

#include <algorithm>

#include "base/strings.h"
#include "tokenizer/jinja_loop.h"
#include "tokenizer/jinja_operations.h"
#include "tokenizer/jinja_text_methods.h"

namespace lserve::jinja {

namespace {

Result<Value> view(const Dict& dict, ListKind kind, Budget& budget) {
  RETURN_IF_ERROR(budget.take_steps(static_cast<int64_t>(dict.members.size())));
  std::vector<Value> items;
  for (const auto& [key, value] : dict.members) {
    if (kind != ListKind::kDictItems) {
      items.push_back(kind == ListKind::kDictKeys ? key : value);
      continue;
    }
    ASSIGN_OR_RETURN(Value pair, make_list({key, value}, ListKind::kTuple));
    items.push_back(std::move(pair));
  }
  return make_list(std::move(items), kind);
}

Result<Value> call_dict_method(const Callable& callable, const Arguments& arguments,
                               Budget& budget) {
  const std::string& name = callable.name;
  const Dict& dict = callable.object.dict();
  if (name == "get") {
    if (!arguments.named.empty()) return unsupported("get with named arguments");
    ASSIGN_OR_RETURN(const Bound bound, bind("get", arguments, {"key", "default"}, 1));
    if (!is_hashable(*bound[0])) return unsupported(cat(bound[0]->type_name(), " as a key"));
    ASSIGN_OR_RETURN(const Value* found, find_member(dict, *bound[0], budget));
    return found != nullptr ? *found : bound[1].value_or(Value());
  }
  RETURN_IF_ERROR(bind(name, arguments, {}).status());
  if (name == "items") return view(dict, ListKind::kDictItems, budget);
  if (name == "keys") return view(dict, ListKind::kDictKeys, budget);
  if (name == "values") return view(dict, ListKind::kDictValues, budget);
  if (name == "copy") return callable.object;
  return unsupported(cat("the method ", quoted(name), " of a dict"));
}

Result<Value> call_list_method(const Callable& callable, const Arguments& arguments,
                               Budget& budget) {
  const std::string& name = callable.name;
  const auto& items = callable.object.list().items;
  if (name == "copy") {
    RETURN_IF_ERROR(bind(name, arguments, {}).status());
    return callable.object;
  }
  if (name != "count" && name != "index") {
    return unsupported(cat("the method ", quoted(name), " of a ", callable.object.type_name()));
  }
  ASSIGN_OR_RETURN(const Bound bound, bind(name, arguments, {"value"}, 1));
  int64_t count = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    ASSIGN_OR_RETURN(const bool same, equal(items[i], *bound[0], budget));
    if (same && name == "index") return Value(static_cast<int64_t>(i));
    count += same ? 1 : 0;
  }
  if (name == "index") return runtime_error("the value is not in the list");
  return Value(count);
}

Result<Value> call_loop_method(const Callable& callable, const Arguments& arguments,
                               Budget& budget) {
  Loop& loop = callable.object.loop();
  const auto& values = arguments.positional;
  if (!arguments.named.empty()) return unsupported("loop with named arguments");
  if (callable.name == "cycle") {
    if (values.empty()) return unsupported("cycle without arguments");
    return values[static_cast<size_t>(loop.index0) % values.size()];
  }
  bool same = loop.last_changed && loop.last_changed->size() == values.size();
  for (size_t i = 0; same && i < values.size(); ++i) {
    ASSIGN_OR_RETURN(same, equal((*loop.last_changed)[i], values[i], budget));
  }
  if (!same) loop.last_changed = values;
  return Value(!same);
}

}  // namespace

Result<Value> call_method(const Callable& callable, const Arguments& arguments, Budget& budget) {
  const Value& object = callable.object;
  switch (object.type()) {
    case Type::kText:
      return call_text_method(callable.name, object.text(), arguments, budget);
    case Type::kDict:
      return call_dict_method(callable, arguments, budget);
    case Type::kList:
      return call_list_method(callable, arguments, budget);
    case Type::kLoop:
      return call_loop_method(callable, arguments, budget);
    default:
      return unsupported(cat("the method ", quoted(callable.name), " of a ", object.type_name()));
  }
}

}  // namespace lserve::jinja
