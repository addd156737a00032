// Numbers are compared with their range in a way that NaN fails.
#include "checkpoint/json_fields.h"

#include "base/strings.h"

namespace lserve {

namespace {

template <typename T>
std::string out_of_range(T value, Range<T> range) {
  return cat(value, " is out of range (", range.min, " to ", range.max, ")");
}

}  // namespace

Status JsonFields::error(std::string_view key, std::string_view why) const {
  return model_error(cat(where_, ": ", key, ": ", why));
}

const Json* JsonFields::find(std::string_view key) const {
  const Json* value = object_.find(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

Result<std::optional<int64_t>> JsonFields::find_int(std::string_view key,
                                                    Range<int64_t> range) const {
  const Json* value = find(key);
  if (value == nullptr) return std::optional<int64_t>();
  if (!value->is_int()) return error(key, cat(quoted(value->dump()), " is no integer"));
  const int64_t number = value->as_int();
  if (number < range.min || number > range.max) return error(key, out_of_range(number, range));
  return std::optional(number);
}

Result<std::optional<double>> JsonFields::find_double(std::string_view key,
                                                      Range<double> range) const {
  const Json* value = find(key);
  if (value == nullptr) return std::optional<double>();
  if (!value->is_number()) return error(key, cat(quoted(value->dump()), " is no number"));
  const double number = value->as_double();
  if (!(number >= range.min && number <= range.max)) return error(key, out_of_range(number, range));
  return std::optional(number);
}

Result<int64_t> JsonFields::get_int(std::string_view key, Range<int64_t> range) const {
  ASSIGN_OR_RETURN(const auto value, find_int(key, range));
  if (!value) return error(key, "is missing");
  return *value;
}

Result<double> JsonFields::get_double(std::string_view key, Range<double> range) const {
  ASSIGN_OR_RETURN(const auto value, find_double(key, range));
  if (!value) return error(key, "is missing");
  return *value;
}

Result<bool> JsonFields::find_bool(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) return false;
  if (!value->is_bool())
    return error(key, cat(quoted(value->dump()), " is neither true nor false"));
  return value->as_bool();
}

Result<std::string> JsonFields::find_string(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::string();
  if (!value->is_string()) return error(key, cat(quoted(value->dump()), " is no string"));
  return value->as_string();
}

Result<std::vector<int64_t>> JsonFields::find_ints(std::string_view key,
                                                   Range<int64_t> range) const {
  std::vector<int64_t> numbers;
  const Json* value = find(key);
  if (value == nullptr) return numbers;
  if (!value->is_array()) {
    ASSIGN_OR_RETURN(const auto number, get_int(key, range));
    numbers.push_back(number);
    return numbers;
  }
  for (const Json& element : value->as_array()) {
    if (!element.is_int()) return error(key, cat(quoted(element.dump()), " is no integer"));
    const int64_t number = element.as_int();
    if (number < range.min || number > range.max) return error(key, out_of_range(number, range));
    numbers.push_back(number);
  }
  return numbers;
}

}  // namespace lserve
