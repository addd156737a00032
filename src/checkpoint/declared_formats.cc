#include "checkpoint/declared_formats.h"

#include <algorithm>
#include <array>
#include <map>

#include "base/strings.h"
#include "quant/quant_group.h"

namespace lserve {

namespace {

constexpr std::string_view kMember = "quantization_config";
constexpr const char* kMethod = "lserve";
constexpr int64_t kVersion = 1;
constexpr const char* kStoredType = "U8";
constexpr std::array<std::string_view, 5> kMembers = {"quant_method", "version", "layers", "head",
                                                      "group_size"};

bool has_groups(std::optional<WeightFormat> format) {
  return format == WeightFormat::kW4A8 || format == WeightFormat::kW4A16;
}

Result<std::optional<WeightFormat>> parse_format(const JsonFields& fields, std::string_view key) {
  if (fields.find(key) == nullptr) return std::optional<WeightFormat>();
  ASSIGN_OR_RETURN(const std::string name, fields.find_string(key));
  for (const WeightFormat format : kRowFormats) {
    if (name == weight_format_name(format)) return std::optional(format);
  }
  return fields.error(key, cat(quoted(name), " is no format (known: ", row_format_names(), ")"));
}

// What it does not know might change what the bytes mean.
Status check_members(const Json& declaration, const JsonFields& fields) {
  for (const auto& [key, value] : declaration.as_object()) {
    if (std::ranges::find(kMembers, key) != kMembers.end()) continue;
    return fields.error(quoted(key), cat("is no member that version ", kVersion, " has"));
  }
  return {};
}

// The row format that a tensor's name ends with.
std::optional<WeightFormat> format_of_name(std::string_view name) {
  for (const WeightFormat format : kRowFormats) {
    if (name.ends_with(format_suffix(format))) return format;
  }
  return std::nullopt;
}

Status check_group_size(const JsonFields& fields, const DeclaredFormats& declared) {
  ASSIGN_OR_RETURN(const auto size, fields.find_int("group_size", {1, 1 << 20}));
  const bool wanted = has_groups(declared.layers) || has_groups(declared.head);
  if (!wanted && size) {
    return fields.error("group_size", cat(declared.describe(), " has no groups"));
  }
  if (wanted && size != kQuantGroupSize) {
    return fields.error("group_size", cat(size ? cat(*size) : "nothing", " is not the ",
                                          kQuantGroupSize, " of ", declared.describe()));
  }
  return {};
}

}  // namespace

bool is_head_matrix(std::string_view tensor) {
  return tensor == "model.embed_tokens.weight" || tensor == "lm_head.weight";
}

std::string row_format_names() {
  std::string names;
  for (const WeightFormat format : kRowFormats) {
    names += cat(names.empty() ? "" : ", ", weight_format_name(format));
  }
  return names;
}

std::string format_suffix(WeightFormat format) { return cat(".", weight_format_name(format)); }

std::optional<WeightFormat> DeclaredFormats::of(const std::string& tensor) const {
  return is_head_matrix(tensor) ? head : layers;
}

Json DeclaredFormats::to_json() const {
  Json json = Json::object();
  json.set("quant_method", kMethod).set("version", kVersion);
  if (layers) json.set("layers", weight_format_name(*layers));
  if (head) json.set("head", weight_format_name(*head));
  if (has_groups(layers) || has_groups(head)) json.set("group_size", kQuantGroupSize);
  return json;
}

std::string DeclaredFormats::describe() const {
  std::string text = layers ? weight_format_name(*layers) : "";
  if (head) text += cat(layers ? ", " : "", "head ", weight_format_name(*head));
  return text;
}

Result<DeclaredFormats> parse_declared_formats(const JsonFields& fields) {
  const Json* member = fields.find(kMember);
  if (member == nullptr) return DeclaredFormats();
  if (!member->is_object()) return fields.error(kMember, "is no object");
  const JsonFields own(*member, cat(fields.where(), ": ", kMember));
  ASSIGN_OR_RETURN(const std::string method, own.find_string("quant_method"));
  if (method != kMethod) {
    return own.error("quant_method",
                     cat(method.empty() ? "quantised weights" : quoted(method),
                         " are not supported here (supported: F32, F16, BF16; what lserve quantize "
                         "writes; or a GGUF file)"));
  }
  ASSIGN_OR_RETURN(const int64_t version, own.get_int("version", {0, 1 << 20}));
  if (version != kVersion) {
    return own.error("version", cat(version, " is not known (known: ", kVersion,
                                    "); a newer lserve wrote this directory"));
  }
  RETURN_IF_ERROR(check_members(*member, own));
  DeclaredFormats declared;
  ASSIGN_OR_RETURN(declared.layers, parse_format(own, "layers"));
  ASSIGN_OR_RETURN(declared.head, parse_format(own, "head"));
  if (!declared.any()) return own.error("layers", "is missing, and so is head");
  RETURN_IF_ERROR(check_group_size(own, declared));
  return declared;
}

Status apply_declared_formats(const DeclaredFormats& declared, const ModelConfig& config,
                              const std::string& where, std::vector<StoredTensor>* stored) {
  std::map<std::string, std::vector<int64_t>, std::less<>> matrices;
  for (ExpectedTensor& expected : expected_tensors(config)) {
    if (expected.shape.size() == 2) matrices[expected.name] = std::move(expected.shape);
  }
  for (StoredTensor& tensor : *stored) {
    const auto held = format_of_name(tensor.name);
    const std::string name =
        held ? tensor.name.substr(0, tensor.name.size() - format_suffix(*held).size())
             : tensor.name;
    const auto expected = matrices.find(name);
    if (expected == matrices.end()) continue;
    const auto format = declared.of(name);
    const std::string what = cat(where, ": tensor ", quoted(tensor.file_name));
    if (held != format) {
      return model_error(cat(what, " holds ", held ? weight_format_name(*held) : tensor.type,
                             " weights, but ", kMember, " declares ",
                             format ? weight_format_name(*format) : "no format of them"));
    }
    if (!format) continue;
    const std::vector<int64_t>& shape = expected->second;
    const auto bytes =
        static_cast<int64_t>(row_bytes(*format, static_cast<uint64_t>(shape[1])).value());
    const std::vector<int64_t> as_stored = {shape[0], bytes};
    if (tensor.type != kStoredType || tensor.shape != as_stored) {
      return model_error(cat(what, " is ", tensor.type, " ", shape_text(tensor.shape), ", but ",
                             weight_format_name(*format), " weights of ", shape_text(shape),
                             " are ", kStoredType, " ", shape_text(as_stored)));
    }
    tensor.name = name;
    tensor.format = *format;
    tensor.type = weight_format_name(*format);
    tensor.shape = shape;
  }
  return {};
}

}  // namespace lserve
