// CHECK: for programmer mistakes only. Prints the expression with both values and aborts.
//
// Nothing that a user, a file or a request can cause may reach a failing CHECK: that is what Status
// (base/status.h) is for.
#pragma once

#include <sstream>
#include <string>

namespace lserve::internal {

[[noreturn]] void check_failed(const char* file, int line, const std::string& what);

template <typename A, typename B>
[[noreturn]] void check_op_failed(const char* file, int line, const char* text, const A& a,
                                  const B& b) {
  std::ostringstream out;
  out << text << " (" << a << " against " << b << ")";
  check_failed(file, line, out.str());
}

}  // namespace lserve::internal

#define CHECK(condition) \
  ((condition) ? (void)0 : ::lserve::internal::check_failed(__FILE__, __LINE__, #condition))

#define LSERVE_CHECK_OP(op, a, b)                                                           \
  do {                                                                                      \
    const auto& lserve_a_ = (a);                                                            \
    const auto& lserve_b_ = (b);                                                            \
    if (!(lserve_a_ op lserve_b_))                                                          \
      ::lserve::internal::check_op_failed(__FILE__, __LINE__, #a " " #op " " #b, lserve_a_, \
                                          lserve_b_);                                       \
  } while (false)

#define CHECK_EQ(a, b) LSERVE_CHECK_OP(==, a, b)
#define CHECK_NE(a, b) LSERVE_CHECK_OP(!=, a, b)
#define CHECK_LT(a, b) LSERVE_CHECK_OP(<, a, b)
#define CHECK_LE(a, b) LSERVE_CHECK_OP(<=, a, b)
#define CHECK_GE(a, b) LSERVE_CHECK_OP(>=, a, b)
#define CHECK_GT(a, b) LSERVE_CHECK_OP(>, a, b)
