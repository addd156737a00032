// What a template computes with. Texts know which of their bytes came from a message.
//
// Values are immutable and shared, so copying one is cheap and a value can never contain itself.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace lserve::jinja {

// Bytes with their origin, as runs.
class Text {
 public:
  struct Run {
    size_t end;
    bool from_message;
  };

  Text() = default;
  Text(std::string bytes, bool from_message);

  const std::string& bytes() const { return bytes_; }
  const std::vector<Run>& runs() const { return runs_; }
  void append(std::string_view bytes, bool from_message);
  void append(const Text& other);
  // REQUIRES: begin <= end <= bytes().size().
  Text slice(size_t begin, size_t end) const;
  // What it occupies, for the budget.
  size_t cost() const { return bytes_.size() + runs_.size() * sizeof(Run); }

 private:
  std::string bytes_;
  std::vector<Run> runs_;  // none is empty; neighbours differ; the last ends with the bytes
};

class Value;
struct Undefined {
  std::string what;  // "'x' is undefined"
};
struct None {};
struct List {
  std::vector<Value> items;
  int depth = 1;  // of lists in lists
};
struct Dict {
  std::vector<std::pair<std::string, Value>> members;
  bool is_loop = false;  // the loop variable: members that it lacks are not supported
};
inline constexpr int kMaxListDepth = 64;

class Value {
 public:
  Value() : value_(None()) {}
  explicit Value(Undefined undefined) : value_(std::move(undefined)) {}
  explicit Value(bool value) : value_(value) {}
  explicit Value(int64_t value) : value_(value) {}
  explicit Value(Text text) : value_(std::make_shared<const Text>(std::move(text))) {}
  explicit Value(List list) : value_(std::make_shared<const List>(std::move(list))) {}
  explicit Value(Dict dict) : value_(std::make_shared<const Dict>(std::move(dict))) {}

  bool is_undefined() const { return std::holds_alternative<Undefined>(value_); }
  bool is_none() const { return std::holds_alternative<None>(value_); }
  bool is_bool() const { return std::holds_alternative<bool>(value_); }
  bool is_integer() const { return std::holds_alternative<int64_t>(value_); }
  bool is_number() const { return is_bool() || is_integer(); }
  bool is_text() const { return std::holds_alternative<std::shared_ptr<const Text>>(value_); }
  bool is_list() const { return std::holds_alternative<std::shared_ptr<const List>>(value_); }
  bool is_dict() const { return std::holds_alternative<std::shared_ptr<const Dict>>(value_); }

  // REQUIRES: the value is of that type.
  const std::string& why_undefined() const { return std::get<Undefined>(value_).what; }
  int64_t number() const {
    return is_bool() ? int64_t{std::get<bool>(value_)} : std::get<int64_t>(value_);
  }
  const Text& text() const { return *std::get<std::shared_ptr<const Text>>(value_); }
  const List& list() const { return *std::get<std::shared_ptr<const List>>(value_); }
  const Dict& dict() const { return *std::get<std::shared_ptr<const Dict>>(value_); }

  // Python's name of the type, for messages.
  std::string_view type_name() const;
  // Python's truth: undefined, none, false, 0 and what is empty are false.
  bool is_true() const;

 private:
  std::variant<Undefined, None, bool, int64_t, std::shared_ptr<const Text>,
               std::shared_ptr<const List>, std::shared_ptr<const Dict>>
      value_;
};

}  // namespace lserve::jinja
