// Status and Result<T>: how the library reports what users, files and machines can cause.
//
// Programmer mistakes use CHECK (base/check.h) instead. No exception crosses a folder's boundary.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "base/check.h"

namespace lserve {

// What went wrong, by who can mend it. The command line maps each kind to one exit code.
enum class ErrorKind {
  kRuntime,      // non-finite logits, I/O, a device fault
  kUsage,        // an option, a request, a prompt that is too long
  kModel,        // a model file is missing, damaged or not supported
  kMemory,       // does not fit
  kDevice,       // no usable device
  kInterrupted,  // the user pressed Ctrl-C
};

// OK, or an error with one line of text: what, where, the number, the remedy.
class [[nodiscard]] Status {
 public:
  Status() = default;
  static Status error(ErrorKind kind, std::string message) {
    Status status;
    status.error_ = Error{kind, std::move(message)};
    return status;
  }

  bool ok() const { return !error_.has_value(); }
  // REQUIRES: !ok().
  ErrorKind kind() const {
    CHECK(!ok());
    return error_->kind;
  }
  // REQUIRES: !ok().
  const std::string& message() const {
    CHECK(!ok());
    return error_->message;
  }

 private:
  struct Error {
    ErrorKind kind;
    std::string message;
  };
  std::optional<Error> error_;
};

// A value, or the Status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}
  // REQUIRES: !status.ok().
  Result(Status status) : status_(std::move(status)) { CHECK(!status_.ok()); }

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  // REQUIRES: ok(), for all four.
  T& value() & {
    CHECK(ok());
    return *value_;
  }
  const T& value() const& {
    CHECK(ok());
    return *value_;
  }
  T&& value() && {
    CHECK(ok());
    return std::move(*value_);
  }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }

 private:
  std::optional<T> value_;
  Status status_;
};

inline Status runtime_error(std::string m) {
  return Status::error(ErrorKind::kRuntime, std::move(m));
}
inline Status usage_error(std::string m) { return Status::error(ErrorKind::kUsage, std::move(m)); }
inline Status model_error(std::string m) { return Status::error(ErrorKind::kModel, std::move(m)); }
inline Status memory_error(std::string m) {
  return Status::error(ErrorKind::kMemory, std::move(m));
}
inline Status device_error(std::string m) {
  return Status::error(ErrorKind::kDevice, std::move(m));
}

}  // namespace lserve

#define LSERVE_CONCAT_INNER(a, b) a##b
#define LSERVE_CONCAT(a, b) LSERVE_CONCAT_INNER(a, b)

// Leaves the function with the error, if `expression` (a Status) is one.
#define RETURN_IF_ERROR(expression)                  \
  do {                                               \
    ::lserve::Status lserve_status_ = (expression);  \
    if (!lserve_status_.ok()) return lserve_status_; \
  } while (false)

// Binds the value of a Result to `lhs`, or leaves the function with its error.
#define ASSIGN_OR_RETURN(lhs, expression) \
  ASSIGN_OR_RETURN_IMPL(LSERVE_CONCAT(lserve_result_, __LINE__), lhs, expression)
#define ASSIGN_OR_RETURN_IMPL(result, lhs, expression) \
  auto result = (expression);                          \
  if (!result.ok()) return result.status();            \
  lhs = std::move(result).value()
