#include "tokenizer/jinja_functions.h"

#include <algorithm>
#include <array>

#include "base/strings.h"
#include "tokenizer/jinja_operations.h"
#include "tokenizer/jinja_print.h"

namespace lserve::jinja {

namespace {

constexpr int64_t kMaxRange = 100'000;  // jinja2's sandbox has the same
constexpr size_t kMaxTimeFormat = 256;

Result<Value> range(const Arguments& arguments, Budget& budget) {
  ASSIGN_OR_RETURN(const Bound bound, bind("range", arguments, {"start", "stop", "step"}, 1));
  if (!arguments.named.empty()) return unsupported("range with named arguments");
  List list;
  list.kind = ListKind::kRange;
  ASSIGN_OR_RETURN(const int64_t first, integer_or(bound[0], 0, "a bound of range"));
  list.start = bound[1] ? first : 0;
  ASSIGN_OR_RETURN(list.stop, integer_or(bound[1], first, "a bound of range"));
  ASSIGN_OR_RETURN(list.step, integer_or(bound[2], 1, "a step of range"));
  if (list.step == 0) return runtime_error("range with step 0");
  // In wider numbers, so that no difference overflows.
  const __int128 span =
      list.step > 0 ? __int128{list.stop} - list.start : __int128{list.start} - list.stop;
  const __int128 stride = list.step > 0 ? __int128{list.step} : -__int128{list.step};
  const __int128 count = span > 0 ? (span + stride - 1) / stride : 0;
  if (count > kMaxRange) {
    return model_error(cat("a range of more than ", kMaxRange, " numbers is not supported"));
  }
  RETURN_IF_ERROR(budget.take_steps(static_cast<int64_t>(count)));
  for (int64_t i = 0; i < static_cast<int64_t>(count); ++i) {
    list.items.push_back(Value(list.start + i * list.step));
  }
  return Value(std::move(list));
}

// dict(pairs or another, name=value, ...).
Result<std::vector<Member>> dict_members(std::string_view what, const Arguments& arguments,
                                         Budget& budget) {
  if (arguments.positional.size() > 1) return unsupported(cat(what, " with several arguments"));
  std::vector<Member> members;
  if (!arguments.positional.empty()) {
    const Value& source = arguments.positional[0];
    if (source.is_undefined()) return runtime_error(source.why_undefined());
    if (source.is_dict()) {
      RETURN_IF_ERROR(budget.take_steps(static_cast<int64_t>(source.dict().members.size())));
      members = source.dict().members;
    } else {
      ASSIGN_OR_RETURN(const std::vector<Value> pairs, iterate(source, budget));
      for (const Value& pair : pairs) {
        ASSIGN_OR_RETURN(const std::vector<Value> parts, iterate(pair, budget));
        if (parts.size() != 2) return unsupported(cat(what, " of other than pairs"));
        RETURN_IF_ERROR(set_member(members, parts[0], parts[1], budget));
      }
    }
  }
  for (const auto& [name, value] : arguments.named) {
    RETURN_IF_ERROR(set_member(members, Value(own_text(name)), value, budget));
  }
  return members;
}

Result<Value> make_namespace(const Arguments& arguments, Budget& budget) {
  ASSIGN_OR_RETURN(const std::vector<Member> members, dict_members("namespace", arguments, budget));
  auto space = std::make_shared<Namespace>();
  for (const auto& [key, value] : members) {
    if (!key.is_text()) return unsupported("a namespace with names other than texts");
    if (key.bytes().starts_with('_'))
      return unsupported("a namespace with a name beginning with _");
    space->members.emplace_back(key.text(), value);
  }
  return Value(std::move(space));
}

Result<Value> strftime_now(const Arguments& arguments, const std::optional<std::tm>& now,
                           Budget& budget) {
  ASSIGN_OR_RETURN(const Bound bound, bind("strftime_now", arguments, {"format"}, 1));
  ASSIGN_OR_RETURN(const Text format, text_argument(*bound[0], "a time's format"));
  if (format.size() == 0) return Value(Text());
  if (format.size() > kMaxTimeFormat) return unsupported("a time's format of that length");
  std::tm time{};
  if (now) {
    time = *now;
  } else {
    const std::time_t seconds = std::time(nullptr);
    if (localtime_r(&seconds, &time) == nullptr) return runtime_error("no local time");
  }
  std::array<char, 4096> buffer;
  // A space more, because a length of 0 would otherwise have two meanings.
  const std::string padded = format.bytes() + " ";
  const size_t length = std::strftime(buffer.data(), buffer.size(), padded.c_str(), &time);
  if (length == 0) return unsupported("a time of that length");
  return budget.pay(Text(std::string(buffer.data(), length - 1),
                         std::any_of(format.runs().begin(), format.runs().end(),
                                     [](const Text::Run& run) { return run.from_message; })));
}

}  // namespace

std::vector<std::pair<std::string, Value>> global_functions() {
  std::vector<std::pair<std::string, Value>> functions;
  for (const char* name : {"raise_exception", "strftime_now", "range", "dict", "namespace",
                           "cycler", "joiner", "lipsum"}) {
    Callable callable;
    callable.name = name;
    functions.emplace_back(name, Value(std::move(callable)));
  }
  return functions;
}

Result<Value> call_function(std::string_view name, const Arguments& arguments,
                            const std::optional<std::tm>& now, Budget& budget) {
  if (name == "range") return range(arguments, budget);
  if (name == "namespace") return make_namespace(arguments, budget);
  if (name == "strftime_now") return strftime_now(arguments, now, budget);
  if (name == "dict") {
    ASSIGN_OR_RETURN(std::vector<Member> members, dict_members("dict", arguments, budget));
    return make_dict(std::move(members));
  }
  if (name == "raise_exception") {
    ASSIGN_OR_RETURN(const Bound bound, bind("raise_exception", arguments, {"message"}, 1));
    ASSIGN_OR_RETURN(const Text text, to_text(*bound[0], budget));
    return runtime_error(text.bytes());
  }
  return unsupported(cat("the function ", quoted(name)));
}

}  // namespace lserve::jinja
