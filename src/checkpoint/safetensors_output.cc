#include "checkpoint/safetensors_output.h"

#include "base/check.h"
#include "base/json.h"

namespace lserve {

namespace {

constexpr size_t kAlignment = 64;  // of the data section in the file

// The header's length and text, filled up with blanks.
std::string header_of(const std::vector<SafetensorsOutput::Entry>& entries) {
  Json header = Json::object();
  header.set("__metadata__", Json::object().set("format", "pt"));
  uint64_t end = 0;
  for (const SafetensorsOutput::Entry& entry : entries) {
    Json shape = Json::array();
    for (const int64_t dim : entry.shape) shape.push_back(dim);
    Json offsets = Json::array();
    offsets.push_back(static_cast<int64_t>(end));
    end += entry.bytes;
    offsets.push_back(static_cast<int64_t>(end));
    header.set(entry.name, Json::object()
                               .set("dtype", entry.dtype)
                               .set("shape", std::move(shape))
                               .set("data_offsets", std::move(offsets)));
  }
  std::string text = header.dump();
  while ((sizeof(uint64_t) + text.size()) % kAlignment != 0) text += ' ';
  const uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + text;
}

}  // namespace

Result<SafetensorsOutput> SafetensorsOutput::create(const std::string& path,
                                                    std::vector<Entry> entries) {
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path));
  const std::string header = header_of(entries);
  RETURN_IF_ERROR(file.write(std::as_bytes(std::span(header))));
  return SafetensorsOutput(std::move(file), std::move(entries));
}

Status SafetensorsOutput::write(std::span<const std::byte> data) {
  CHECK(next_ < entries_.size());
  CHECK_EQ(data.size(), entries_[next_].bytes);
  ++next_;
  return file_.write(data);
}

Status SafetensorsOutput::commit() {
  CHECK_EQ(next_, entries_.size());
  return file_.commit();
}

}  // namespace lserve
