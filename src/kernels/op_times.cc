#include "kernels/op_times.h"

#include <algorithm>
#include <map>

#include "base/strings.h"
#include "kernels/forwarding_backend.h"

namespace lserve {

void OpTimes::add(const std::string& op, double seconds) {
  auto found = std::find_if(all_.begin(), all_.end(), [&](const OpTime& t) { return t.op == op; });
  if (found == all_.end()) found = all_.insert(all_.end(), OpTime{op, 0, 0});
  ++found->calls;
  found->seconds += seconds;
}

namespace {

std::string name_of(std::string_view op, const LinearParams& params) {
  int64_t rows = 0;
  for (const LinearOutput& output : params.outputs) rows += output.weight->rows;
  return cat(op, " ", rows, " x ", params.outputs.front().weight->columns);
}

}  // namespace

class TimedBackend final : public ForwardingBackend {
 public:
  TimedBackend(std::unique_ptr<Backend> inner, OpTimes* times)
      : ForwardingBackend(std::move(inner)), times_(*times) {}

  void embed(const EmbedParams& p) override {
    timed("embed", [&] { inner().embed(p); });
  }
  void rms_norm(const RmsNormParams& p) override {
    timed("rms_norm", [&] { inner().rms_norm(p); });
  }
  void linear(const LinearParams& p) override {
    timed(name_of("linear", p), [&] { inner().linear(p); });
  }
  bool norm_linear(const NormLinearParams& p) override {
    bool wrote_largest = false;
    timed(name_of("norm_linear", p.linear), [&] { wrote_largest = inner().norm_linear(p); });
    return wrote_largest;
  }
  void silu_mul(const SiluMulParams& p) override {
    timed("silu_mul", [&] { inner().silu_mul(p); });
  }
  void rope(const RopeParams& p) override {
    timed("rope", [&] { inner().rope(p); });
  }
  void write_kv(const WriteKvParams& p) override {
    timed("write_kv", [&] { inner().write_kv(p); });
  }
  void rope_write_kv(const RopeWriteKvParams& p) override {
    timed("rope_write_kv", [&] { inner().rope_write_kv(p); });
  }
  void prefill_attention(const PrefillAttentionParams& p) override {
    timed("prefill_attention", [&] { inner().prefill_attention(p); });
  }
  void page_scores(const PageScoreParams& p) override {
    timed("page_scores", [&] { inner().page_scores(p); });
  }
  void select_pages(const SelectPagesParams& p) override {
    timed("select_pages", [&] { inner().select_pages(p); });
  }
  void gather_spans(const GatherSpansParams& p) override {
    timed("gather_spans", [&] { inner().gather_spans(p); });
  }
  void select_spans(const SelectSpansParams& p) override {
    timed("select_spans", [&] { inner().select_spans(p); });
  }
  void decode_attention(const DecodeAttentionParams& p) override {
    timed("decode_attention", [&] { inner().decode_attention(p); });
  }
  void sample(const SampleParams& p) override {
    timed("sample", [&] { inner().sample(p); });
  }
  void log_probs(const LogProbParams& p) override {
    timed("log_probs", [&] { inner().log_probs(p); });
  }

  bool has_graphs() const override { return inner().has_graphs(); }
  void run_graph(uint64_t key, FunctionRef<void()> operations) override {
    synchronize();
    Part& graph = graphs_[key];
    current_ = &graph;
    inner().run_graph(key, [&] {
      graph.used = 0;
      operations();
    });
    current_ = &eager_;
    inner().synchronize();
    add(graph);
  }
  void synchronize() override {
    inner().synchronize();
    add(eager_);
    eager_.used = 0;
  }

 private:
  struct Note {
    int64_t moment;
    std::string op;  // that ended then; "": something begins
  };
  // What runs one after the other: a graph, or everything outside graphs since the last
  // synchronize(). Its moments are used again when it begins anew.
  struct Part {
    std::vector<Note> notes;
    size_t used = 0;
  };

  void timed(std::string op, FunctionRef<void()> operation) {
    if (current_->used == 0) note("");
    operation();
    note(std::move(op));
  }
  void note(std::string op) {
    Part& part = *current_;
    if (part.used == part.notes.size()) part.notes.push_back({num_moments_++, {}});
    Note& next = part.notes[part.used++];
    next.op = std::move(op);
    inner().note_moment(next.moment);
  }
  void add(const Part& part) {
    for (size_t i = 1; i < part.used; ++i) {
      times_.add(part.notes[i].op,
                 inner().seconds_between(part.notes[i - 1].moment, part.notes[i].moment));
    }
  }

  OpTimes& times_;
  Part eager_;
  std::map<uint64_t, Part> graphs_;
  Part* current_ = &eager_;
  int64_t num_moments_ = 0;
};

std::unique_ptr<Backend> make_timed_backend(std::unique_ptr<Backend> inner, OpTimes* times) {
  return std::make_unique<TimedBackend>(std::move(inner), times);
}

}  // namespace lserve
