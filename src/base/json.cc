#include "base/json.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/strings.h"
#include "base/utf8.h"

namespace lserve {

namespace {

// Builds a Json from nlohmann's events; every `false` stops the parser with `error` set.
class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit Builder(JsonLimits limits) : limits_(limits) {}

  bool null() override { return add(Json()); }
  bool boolean(bool value) override { return add(Json(value)); }
  bool number_integer(int64_t value) override { return add(Json(value)); }
  bool number_unsigned(uint64_t value) override {
    return value <= INT64_MAX ? add(Json(static_cast<int64_t>(value)))
                              : add(Json(static_cast<double>(value)));
  }
  bool number_float(double value, const std::string&) override {
    return std::isfinite(value) ? add(Json(value)) : fail("a number is out of range");
  }
  bool string(std::string& value) override { return add(Json(std::move(value))); }
  bool binary(nlohmann::json::binary_t&) override { return fail("binary data"); }
  bool start_object(size_t) override { return open(Json::object()); }
  bool start_array(size_t) override { return open(Json::array()); }
  bool key(std::string& name) override {
    open_.back().keys.push_back(std::move(name));
    return true;
  }
  bool end_array() override { return close(); }
  bool end_object() override {
    std::vector<std::string_view> names;
    for (const auto& member : open_.back().value.as_object()) names.push_back(member.first);
    std::sort(names.begin(), names.end());
    const auto twin = std::adjacent_find(names.begin(), names.end());
    if (twin != names.end()) return fail(cat("duplicate key ", quoted(*twin)));
    return close();
  }
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::json::exception& e) override {
    offset_ = position;
    return fail(e.id == 406 ? "a number is out of range" : "invalid JSON");
  }

  Json take() { return std::move(root_); }
  const std::string& error() const { return error_; }
  size_t offset() const { return offset_; }

 private:
  struct Open {
    Json value;
    std::vector<std::string> keys;  // of the members begun; at most one without its value
  };

  bool fail(std::string why) {
    if (error_.empty()) error_ = std::move(why);
    return false;
  }
  bool count() { return ++num_elements_ <= limits_.max_elements || fail("too many values"); }
  bool add(Json value) {
    if (!count()) return false;
    attach(std::move(value));
    return true;
  }
  bool open(Json value) {
    if (!count()) return false;
    if (static_cast<int>(open_.size()) >= limits_.max_depth) return fail("nested too deeply");
    open_.push_back({std::move(value), {}});
    return true;
  }
  bool close() {
    Json done = std::move(open_.back().value);
    open_.pop_back();
    attach(std::move(done));
    return true;
  }
  void attach(Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (open_.back().value.is_array()) {
      open_.back().value.push_back(std::move(value));
    } else {
      std::string name = std::move(open_.back().keys.back());
      open_.back().keys.pop_back();
      open_.back().value.set(std::move(name), std::move(value));
    }
  }

  JsonLimits limits_;
  int64_t num_elements_ = 0;
  std::vector<Open> open_;
  Json root_;
  std::string error_;
  size_t offset_ = 0;
};

void dump_string(const std::string& text, std::string& out) {
  out += '"';
  for (const char c : to_valid_utf8(text)) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          std::array<char, 8> escaped{};
          std::snprintf(escaped.data(), escaped.size(), "\\u%04x", c);
          out += escaped.data();
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

void dump_double(double value, std::string& out) {
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  std::array<char, 32> buffer{};
  const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  CHECK(error == std::errc());
  out.append(buffer.data(), end);
}

void dump_to(const Json& value, int indent, int depth, std::string& out);

// The members between `open` and `close`, each written by `write(i)`.
template <typename Write>
void dump_list(size_t size, char open, char close, int indent, int depth, std::string& out,
               Write write) {
  const auto line = [&](int levels) {
    if (indent > 0) out.append("\n").append(static_cast<size_t>(levels * indent), ' ');
  };
  out += open;
  for (size_t i = 0; i < size; ++i) {
    if (i > 0) out += indent > 0 ? "," : ", ";
    line(depth + 1);
    write(i);
  }
  if (size > 0) line(depth);
  out += close;
}

void dump_to(const Json& value, int indent, int depth, std::string& out) {
  if (value.is_null()) {
    out += "null";
  } else if (value.is_bool()) {
    out += value.as_bool() ? "true" : "false";
  } else if (value.is_int()) {
    out += std::to_string(value.as_int());
  } else if (value.is_number()) {
    dump_double(value.as_double(), out);
  } else if (value.is_string()) {
    dump_string(value.as_string(), out);
  } else if (value.is_array()) {
    const auto& list = value.as_array();
    dump_list(list.size(), '[', ']', indent, depth, out,
              [&](size_t i) { dump_to(list[i], indent, depth + 1, out); });
  } else {
    const auto& members = value.as_object();
    dump_list(members.size(), '{', '}', indent, depth, out, [&](size_t i) {
      dump_string(members[i].first, out);
      out += ": ";
      dump_to(members[i].second, indent, depth + 1, out);
    });
  }
}

}  // namespace

Json::Json() = default;
Json::Json(const Json& other) = default;
Json::Json(Json&& other) noexcept = default;
Json& Json::operator=(const Json& other) = default;
Json& Json::operator=(Json&& other) noexcept = default;
Json::~Json() = default;
Json::Json(const char* value) : value_(std::string(value)) {}
Json::Json(std::string value) : value_(std::move(value)) {}
Json::Json(Array value) : value_(std::move(value)) {}
Json::Json(Object value) : value_(std::move(value)) {}
Json Json::array() { return Json(Array{}); }
Json Json::object() { return Json(Object{}); }

Result<Json> Json::parse(std::string_view text, std::string_view what, JsonLimits limits) {
  if (const auto bad = first_invalid_utf8(text)) {
    return model_error(cat(what, ": invalid UTF-8 at byte ", *bad));
  }
  // The library takes a NUL for the end of the text and skips a byte-order mark.
  if (const size_t at = text.find('\0'); at != std::string_view::npos) {
    return model_error(cat(what, ": a NUL byte at byte ", at));
  }
  if (text.starts_with("\xEF\xBB\xBF")) {
    return model_error(cat(what, ": begins with a byte-order mark"));
  }
  Builder builder(limits);
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder)) {
    const std::string why = builder.error().empty() ? "invalid JSON" : builder.error();
    return model_error(
        cat(what, ": ", why, builder.offset() > 0 ? cat(" at byte ", builder.offset()) : ""));
  }
  return builder.take();
}

const Json* Json::find(std::string_view key) const {
  if (!is_object()) return nullptr;
  for (const auto& [name, value] : as_object()) {
    if (name == key) return &value;
  }
  return nullptr;
}

Json& Json::set(std::string key, Json value) {
  std::get<Object>(value_).emplace_back(std::move(key), std::move(value));
  return *this;
}

std::string Json::dump(int indent) const {
  std::string out;
  dump_to(*this, indent, 0, out);
  return out;
}

}  // namespace lserve
