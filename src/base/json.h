// A JSON value and a strict reader with limits, for files and requests that nobody vouches for.
//
// The reader accepts RFC 8259 and nothing else: valid UTF-8, no duplicate keys, no NaN, no number
// beyond a double, no trailing text. Objects keep their order. Heavy library behind json.cc.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/status.h"

namespace lserve {

struct JsonLimits {
  int max_depth = 64;                 // nested arrays and objects
  int64_t max_elements = 16'000'000;  // values in the whole document
};

class Json {
 public:
  using Array = std::vector<Json>;
  using Object = std::vector<std::pair<std::string, Json>>;

  Json();  // null
  // Out of line: inlined, the variant's moves cost much code and false alarms of g++ 12.
  Json(const Json& other);
  Json(Json&& other) noexcept;
  Json& operator=(const Json& other);
  Json& operator=(Json&& other) noexcept;
  ~Json();
  Json(bool value) : value_(value) {}
  Json(int value) : value_(int64_t{value}) {}
  Json(int64_t value) : value_(value) {}
  Json(double value) : value_(value) {}
  Json(const char* value);
  Json(std::string value);
  Json(Array value);
  Json(Object value);
  static Json array();
  static Json object();

  // `what` names the document in messages, which also carry the byte offset.
  static Result<Json> parse(std::string_view text, std::string_view what, JsonLimits limits = {});

  bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  bool is_bool() const { return std::holds_alternative<bool>(value_); }
  bool is_int() const { return std::holds_alternative<int64_t>(value_); }
  bool is_number() const { return is_int() || std::holds_alternative<double>(value_); }
  bool is_string() const { return std::holds_alternative<std::string>(value_); }
  bool is_array() const { return std::holds_alternative<Array>(value_); }
  bool is_object() const { return std::holds_alternative<Object>(value_); }

  // REQUIRES: the value is of that type.
  bool as_bool() const { return std::get<bool>(value_); }
  int64_t as_int() const { return std::get<int64_t>(value_); }
  double as_double() const {
    return is_int() ? static_cast<double>(as_int()) : std::get<double>(value_);
  }
  const std::string& as_string() const { return std::get<std::string>(value_); }
  const Array& as_array() const { return std::get<Array>(value_); }
  const Object& as_object() const { return std::get<Object>(value_); }
  Array& as_array() { return std::get<Array>(value_); }

  // The member of an object; null if this is no object or has no such member (linear search).
  const Json* find(std::string_view key) const;
  // Appends a member. REQUIRES: is_object(); the key is new.
  Json& set(std::string key, Json value);
  // Appends an element. REQUIRES: is_array().
  void push_back(Json value) { as_array().push_back(std::move(value)); }

  // One line; non-finite numbers become null, invalid UTF-8 becomes U+FFFD.
  // indent > 0: one member a line.
  std::string dump(int indent = 0) const;

 private:
  std::variant<std::monostate, bool, int64_t, double, std::string, Array, Object> value_;
};

}  // namespace lserve
