// Reads a GGUF file back into a GgufWriter, so that a test can change a real model.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "checkpoint/byte_cursor.h"
#include "checkpoint/gguf.h"
#include "support/gguf_writer.h"

namespace lserve::test {

// The bytes of the next value of that type, as they stand in the file.
inline Status copy_gguf_value(ByteCursor& cursor, uint32_t type, ByteString* out) {
  if (type == kGgufString) {
    ASSIGN_OR_RETURN(const std::string text, cursor.read_string(1 << 20, "text"));
    out->text(text);
    return {};
  }
  if (type == kGgufArray) {
    ASSIGN_OR_RETURN(const auto element, cursor.read<uint32_t>("element type"));
    ASSIGN_OR_RETURN(const auto count, cursor.read<uint64_t>("count"));
    out->put(element).put(count);
    for (uint64_t i = 0; i < count; ++i) RETURN_IF_ERROR(copy_gguf_value(cursor, element, out));
    return {};
  }
  constexpr size_t kSizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  std::string bytes(kSizes[type], '\0');
  RETURN_IF_ERROR(cursor.read_bytes(std::as_writable_bytes(std::span(bytes)), "value"));
  out->raw(bytes);
  return {};
}

inline Result<GgufWriter> copy_gguf(const std::string& path) {
  GgufWriter writer;
  ASSIGN_OR_RETURN(const Gguf gguf, Gguf::open(path));
  ByteCursor cursor(gguf.file(), gguf.file().size());
  RETURN_IF_ERROR(cursor.read<uint64_t>("magic, version").status());
  RETURN_IF_ERROR(cursor.read<uint64_t>("tensor count").status());
  ASSIGN_OR_RETURN(const auto count, cursor.read<uint64_t>("metadata count"));
  for (uint64_t i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(const std::string key, cursor.read_string(1 << 16, "key"));
    ASSIGN_OR_RETURN(const auto type, cursor.read<uint32_t>("type"));
    ByteString value;
    RETURN_IF_ERROR(copy_gguf_value(cursor, type, &value));
    writer.add(key, type, value);
  }
  for (const GgufTensor& tensor : gguf.tensors()) {
    std::string data(tensor.bytes, '\0');
    RETURN_IF_ERROR(gguf.file().read_at(tensor.offset, std::as_writable_bytes(std::span(data))));
    writer.tensors.push_back({tensor.name, tensor.dims, tensor.type, std::move(data), {}});
  }
  return writer;
}

}  // namespace lserve::test
