// Typed, ranged access to the members of a JSON object out of an untrusted file.
//
// A member that is null counts as absent. Every error reads "file: member: reason".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "checkpoint/config_limits.h"

namespace lserve {

class JsonFields {
 public:
  // `where` is the file, or the file and a path inside it. REQUIRES: object.is_object(); the object
  // outlives this.
  JsonFields(const Json& object, std::string where) : object_(object), where_(std::move(where)) {}

  const std::string& where() const { return where_; }
  // Null if absent or null.
  const Json* find(std::string_view key) const;

  Result<int64_t> get_int(std::string_view key, Range<int64_t> range) const;
  Result<double> get_double(std::string_view key, Range<double> range) const;
  Result<std::optional<int64_t>> find_int(std::string_view key, Range<int64_t> range) const;
  Result<std::optional<double>> find_double(std::string_view key, Range<double> range) const;
  // false / empty if absent.
  Result<bool> find_bool(std::string_view key) const;
  Result<std::string> find_string(std::string_view key) const;
  // One integer or a list of them; empty if absent.
  Result<std::vector<int64_t>> find_ints(std::string_view key, Range<int64_t> range) const;

  Status error(std::string_view key, std::string_view why) const;

 private:
  const Json& object_;
  std::string where_;
};

}  // namespace lserve
