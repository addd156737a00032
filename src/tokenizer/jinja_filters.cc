#include "tokenizer/jinja_filters.h"

#include <algorithm>
#include <vector>

#include "base/strings.h"
#include "tokenizer/jinja_operations.h"

namespace lserve::jinja {

namespace {

const Filter* find(std::string_view name) {
  for (const auto& filters : {text_filters(), number_filters(), sequence_filters()}) {
    for (const Filter& filter : filters) {
      if (filter.name == name) return &filter;
    }
  }
  return nullptr;
}

}  // namespace

bool is_known_filter(std::string_view name) { return find(name) != nullptr; }

std::string known_filters() {
  std::vector<std::string_view> names;
  for (const auto& filters : {text_filters(), number_filters(), sequence_filters()}) {
    for (const Filter& filter : filters) names.push_back(filter.name);
  }
  std::sort(names.begin(), names.end());
  std::string joined;
  for (const std::string_view name : names) joined += cat(joined.empty() ? "" : ", ", name);
  return joined;
}

Result<Value> apply_filter(std::string_view name, const Value& value, const Arguments& arguments,
                           Budget& budget) {
  const Filter* filter = find(name);
  if (filter == nullptr) return unsupported(cat("the filter ", quoted(name)));
  return filter->apply(value, arguments, budget);
}

}  // namespace lserve::jinja
