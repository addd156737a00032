// Operations as workloads: what is counted, by hand and by brute force; that each runs; and what a
// user reads.
#include "evaluation/kernel_bench/kernel_workload.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "base/strings.h"
#include "cli/options_kernel.h"
#include "evaluation/kernel_bench/kernel_times.h"
#include "kernels/forwarding_backend.h"

namespace lserve {
namespace {

// Hidden 256, ffn 512, 8 query heads of 64 in groups of 4, vocabulary 1024.
KernelCase tiny_case(const std::string& op) {
  KernelCase c;
  c.op = op;
  c.shape = "tiny";
  c.rotated_bytes = 1;
  c.context = 100;
  return c;
}

std::unique_ptr<Backend> reference() {
  return std::move(make_backend({.kind = BackendKind::kReference, .num_threads = 1}).value());
}

KernelWorkloads must_make(const KernelCase& c) {
  Result<KernelWorkloads> made = kernel_workloads(c);
  EXPECT_TRUE(made.ok()) << made.status().message();
  return made.ok() ? std::move(made).value() : KernelWorkloads();
}

struct Counts {
  double bytes = 0;
  double operations = 0;
  bool operator==(const Counts&) const = default;
};

// Of the case's workload, the only one if `which` is not said.
Counts counts_of(const KernelCase& c, size_t which = 0) {
  const auto backend = reference();
  const auto kernel = must_make(c).at(which).prepare(*backend);
  EXPECT_TRUE(kernel.ok()) << kernel.status().message();
  return {kernel->bytes, kernel->operations};
}

std::ostream& operator<<(std::ostream& out, const Counts& c) {
  return out << c.bytes << " bytes, " << c.operations << " operations";
}

TEST(KernelBench, CountsLinearLayersAsTheModelCallsThem) {
  KernelCase c = tiny_case("linear");
  c.tokens = 2;
  // qkv: 768 x 256; x, out and (in the reference) the matrix in float32.
  EXPECT_EQ(counts_of(c, 0),
            (Counts{768 * 256 * 4 + 2 * 256 * 4 + 2 * 768 * 4, 2.0 * 2 * 768 * 256}));
  // o: 256 x 512, added to what it reads.
  EXPECT_EQ(counts_of(c, 1),
            (Counts{256 * 512 * 4 + 2 * 512 * 4 + 2 * 2 * 256 * 4, 2.0 * 2 * 256 * 512}));
  const auto workloads = must_make(c);
  std::vector<std::string> names;
  for (const KernelWorkload& w : workloads) names.push_back(w.what);
  EXPECT_EQ(names, (std::vector<std::string>{"qkv 768 x 256, 2 rows", "o 256 x 512, 2 rows",
                                             "gate_up 1024 x 256, 2 rows", "down 256 x 512, 2 rows",
                                             "lm_head 1024 x 256, 2 rows"}));
  const auto& problem = std::get<ProductProblem>(workloads.at(2).vendor);
  EXPECT_EQ(problem.rows, 1024);
  EXPECT_EQ(problem.columns, 256);
  EXPECT_EQ(problem.num_tokens, 2);
  c.tokens = 65;  // a chunk: the output head is not called for it
  EXPECT_EQ(must_make(c).size(), 4U);
}

TEST(KernelBench, CountsWhatIsDoneRowByRow) {
  KernelCase c = tiny_case("rms_norm");
  c.tokens = 3;
  EXPECT_EQ(counts_of(c), (Counts{3 * 2 * 256 * 4 + 256 * 4, 3 * 4 * 256}));
  c.op = "silu_mul";
  EXPECT_EQ(counts_of(c), (Counts{3 * 3 * 512 * 4, 3 * 4 * 512}));
  c.op = "rope";  // 8 + 2 heads of 64, and 64 cosines and sines
  EXPECT_EQ(counts_of(c), (Counts{3 * (2 * 640 + 64) * 4, 3 * 3 * 640}));
  c.op = "embed";  // a row of the table, in float32 in the reference, and one of the result
  EXPECT_EQ(counts_of(c), (Counts{3 * 256 * (4 + 4), 0}));
}

TEST(KernelBench, CountsWhatIsWritten) {
  KernelCase c = tiny_case("write_kv");
  // k and v of 2 heads; both in bf16; the least and the largest key of one logical page, a head.
  EXPECT_EQ(counts_of(c), (Counts{2 * 128 * 4 + 2 * 128 * 2 + 2 * 2 * 64 * 2, 2 * 128}));
  c.tokens = 20;  // two logical pages
  c.kv_format = KvFormat::kInt8;
  EXPECT_EQ(counts_of(c).bytes, 20 * (2 * 128 * 4 + 2 * 2 * (64 + 4)) + 2 * 2 * 2 * 64 * 2);
  c.op = "rope_write_kv";  // also q, read and written, and the angles
  EXPECT_EQ(counts_of(c).bytes, 20 * (2 * 128 * 4 + 2 * 2 * (64 + 4)) + 2 * 2 * 2 * 64 * 2 +
                                    20 * (2 * 512 * 4 + 64 * 4));
}

TEST(KernelBench, CountsTheTokensThatDecodeReads) {
  KernelCase c = tiny_case("decode_attention");
  c.context = 130;
  c.batch = 2;
  const double activations = 2.0 * 2 * 512 * 4;
  EXPECT_EQ(counts_of(c), (Counts{activations + 2 * 2 * 130 * 2 * 64 * 2, 4.0 * 64 * 4 * 520}));
  c.kv_format = KvFormat::kInt4;
  EXPECT_EQ(counts_of(c).bytes, activations + 2 * 2 * 130 * 2 * (32 + 4));
  // One head streams: 64 + 64 tokens. The other reads 5 of 16 pages, the last with 40 tokens.
  c = tiny_case("decode_attention");
  c.context = 1000;
  c.attention = {
      .mode = AttentionMode::kLServe, .sink_tokens = 64, .local_tokens = 64, .token_budget = 320};
  const double tokens = 128 + (4 * 64 + 40);
  EXPECT_EQ(counts_of(c), (Counts{2 * 512 * 4 + tokens * 2 * 64 * 2, 4 * 64 * 4 * tokens}));
  c.context = 300;  // within the budget
  EXPECT_EQ(counts_of(c).operations, 4 * 64 * 4 * (128 + 300));
}

TEST(KernelBench, CountsThePairsThatPrefillSees) {
  for (const auto& [context, tokens] :
       {std::pair<int64_t, int64_t>{1, 1}, {100, 40}, {130, 130}, {65, 1}, {90, 80}, {49, 3}}) {
    for (const auto& [sink, local] : {std::pair{0, 1}, {16, 32}, {64, 7}, {0, 200}}) {
      KernelCase c = tiny_case("prefill_attention");
      c.context = context;
      c.tokens = tokens;
      c.attention = {.mode = AttentionMode::kStreaming, .sink_tokens = sink, .local_tokens = local};
      double pairs = 0;
      std::vector<bool> seen(static_cast<size_t>(context));
      for (int64_t p = context - tokens; p < context; ++p) {
        pairs += static_cast<double>(p + 1);  // of the head that does not stream
        for (int64_t i = 0; i <= p; ++i) {
          if (i >= sink && p - i >= local) continue;
          pairs += 1;
          seen[static_cast<size_t>(i)] = true;
        }
      }
      const auto keys = static_cast<double>(context + std::count(seen.begin(), seen.end(), true));
      EXPECT_EQ(counts_of(c), (Counts{static_cast<double>(2 * tokens * 512 * 4) + keys * 2 * 64 * 2,
                                      4 * 64 * 4 * pairs}))
          << context << " " << tokens << " " << sink << " " << local;
    }
  }
}

double count_of(const PreparedKernel& kernel, const std::string& name) {
  for (const KernelCount& count : kernel.counts) {
    if (count.name == name) return count.value;
  }
  ADD_FAILURE() << "nothing counted as " << name;
  return 0;
}

// Of the workload of that name among those of the case.
PreparedKernel prepared(Backend& backend, const KernelCase& c, const std::string& what) {
  for (const KernelWorkload& workload : must_make(c)) {
    if (workload.what == what) return std::move(workload.prepare(backend).value());
  }
  ADD_FAILURE() << "no workload is called " << what;
  return {};
}

TEST(KernelBench, CountsTheBlocksOfALocalWindow) {
  const auto backend = reference();
  KernelCase c = tiny_case("prefill_attention");
  c.context = 1000;  // 16 blocks
  c.attention = {.mode = AttentionMode::kStreaming, .sink_tokens = 64, .local_tokens = 200};
  const auto kernel = prepared(*backend, c,
                               "streaming, sink 64, local 200, bf16, context 1000, "
                               "1000 rows");
  double read = 0;
  double dense = 0;
  for (int64_t first = 0; first < c.context; first += 64) {
    const int64_t last = std::min<int64_t>(first + 64, c.context) - 1;
    for (int64_t block = 0; block * 64 <= last; ++block) {
      const int64_t newest = std::min<int64_t>(block * 64 + 63, last);  // its key that is seen
      // By the head that does not stream, and by the other: of the sink, or in a row's window.
      read += 1 + (block == 0 || first - newest < 200 ? 1 : 0);
      dense += 2;
    }
  }
  EXPECT_LT(read, dense);
  EXPECT_EQ(count_of(kernel, "blocks_read"), read);
  EXPECT_EQ(count_of(kernel, "blocks_of_dense"), dense);
}

TEST(KernelBench, ListsOfSingleBlocksMayLeaveOutNone) {
  const auto backend = reference();
  KernelCase c = tiny_case("prefill_attention");
  c.context = 1000;
  const auto dense = prepared(*backend, c, "dense, bf16, context 1000, 1000 rows");
  c.block_lists = BlockLists::kSingle;
  const auto listed =
      prepared(*backend, c, "dense, bf16, context 1000, 1000 rows, 0% of blocks skipped, single");
  EXPECT_EQ(listed.operations, dense.operations);
  EXPECT_EQ(listed.bytes, dense.bytes);
  EXPECT_EQ(count_of(listed, "blocks_read"), count_of(dense, "blocks_of_dense"));
  c.skip_percent = 50;
  const auto half =
      prepared(*backend, c, "dense, bf16, context 1000, 1000 rows, 50% of blocks skipped, single");
  EXPECT_LT(half.operations, 0.8 * dense.operations);
  EXPECT_LT(count_of(half, "blocks_read"), 0.8 * count_of(dense, "blocks_read"));
}

// A call of several prompts is what its parts are together, and each part is measured alone.
TEST(KernelBench, PromptsBesideAChunkAddUp) {
  for (const KvFormat format : {KvFormat::kBF16, KvFormat::kInt8}) {
    const auto backend = reference();
    KernelCase c = tiny_case("prefill_attention");
    c.context = 500;
    c.tokens = 100;
    c.beside = {70, 130, 70};
    c.kv_format = format;
    const std::string name = cat("dense, ", kv_format_name(format), ", context ");
    const auto part = [&](int64_t context, int64_t tokens) {
      return prepared(*backend, c, cat(name, context, ", ", tokens, " rows"));
    };
    double bytes = 0;
    double operations = 0;
    double blocks = 0;
    for (const auto& [context, tokens] :
         {std::pair<int64_t, int64_t>{500, 100}, {70, 70}, {130, 130}, {70, 70}}) {
      const PreparedKernel alone = part(context, tokens);
      bytes += alone.bytes;
      operations += alone.operations;
      blocks += count_of(alone, "blocks_read");
      alone.run(0);
    }
    const auto together =
        prepared(*backend, c, cat(name, "500, 100 rows, beside prompts of 70 130 70"));
    EXPECT_EQ(together.bytes, bytes);
    EXPECT_EQ(together.operations, operations);
    EXPECT_EQ(count_of(together, "blocks_read"), blocks);
    EXPECT_EQ(together.limits.num_tokens, 370);
    EXPECT_EQ(together.limits.num_pages, 8 + 2 + 3 + 2);
    together.run(0);
  }
}

TEST(KernelBench, AChunkOfCodesIsAlsoReadWithoutItsAttention) {
  const auto backend = reference();
  KernelCase c = tiny_case("prefill_attention");
  c.tokens = 40;
  EXPECT_EQ(must_make(c).size(), 1U) << "nothing to dequantise";
  c.kv_format = KvFormat::kInt4;
  ASSERT_EQ(must_make(c).size(), 2U);
  const auto kernel = prepared(*backend, c, "dense, int4, context 100, one page read");
  // Codes and scales of 2 heads, and as many numbers of 16 bits.
  EXPECT_EQ(kernel.bytes, 100 * (2 * 2 * (32 + 4) + 2 * 128 * 2));
  EXPECT_EQ(kernel.operations, 0);
  kernel.run(0);
  c.tokens = 0;
  EXPECT_EQ(must_make(c).size(), 1U) << "a whole prompt is no chunk";
}

TEST(KernelBench, CountsWhatKernelsReadThatWorkByQueryHead) {
  const auto backend = reference();
  KernelCase c = tiny_case("decode_attention");  // groups of 4
  c.batch = 2;
  const auto dense = prepared(*backend, c, "dense, bf16, context 100, batch 2");
  EXPECT_EQ(count_of(dense, "kv_bytes_read"), 2 * 2 * 128 * 2 * 64 * 2);  // 2 pages a head
  EXPECT_EQ(count_of(dense, "kv_bytes_by_query_head"), 4 * count_of(dense, "kv_bytes_read"));
  c.context = 2000;
  c.attention = {.mode = AttentionMode::kLServe, .token_budget = 512};
  const auto sparse = prepared(*backend, c, "lserve, bf16, context 2000, batch 2, budget 512");
  // Two sink pages and the five that the last 256 tokens lie in; 512 / 64.
  EXPECT_EQ(count_of(sparse, "kv_bytes_read"), 2 * (2 + 5 + 8) * 64 * 2 * 64 * 2);
}

TEST(KernelBench, SelectorsWorkForTheHeadsThatDoNotStream) {
  const auto backend = reference();
  KernelCase c = tiny_case("page_scores");
  c.context = 1000;
  c.attention.token_budget = 320;
  const auto all = prepared(*backend, c, "minmax, context 1000, batch 1");
  c.attention.mode = AttentionMode::kLServe;
  const auto one = prepared(*backend, c, "minmax, 1 head, context 1000, batch 1");
  EXPECT_EQ(2 * one.bytes, all.bytes);
  one.run(0);
  for (const char* op : {"select_pages", "select_spans"}) {
    c.op = op;
    c.attention.mode = AttentionMode::kDense;
    const auto lists = prepared(*backend, c, "budget 320, context 1000, batch 1");
    c.attention.mode = AttentionMode::kStreaming;
    const auto list = prepared(*backend, c, "budget 320, 1 head, context 1000, batch 1");
    EXPECT_EQ(2 * list.bytes, lists.bytes) << op;
    list.run(0);
  }
}

TEST(KernelBench, CasesThatHavePartsInCommonMeasureThemOnce) {
  KernelCase c = tiny_case("prefill_attention");
  c.kv_format = KvFormat::kInt8;
  std::vector<KernelCase> cases(3, c);
  cases[0].tokens = 10;
  cases[1].tokens = 20;
  cases[2].tokens = 10;
  const auto workloads = kernel_workloads(cases);
  ASSERT_TRUE(workloads.ok());
  std::vector<std::string> names;
  for (const KernelWorkload& w : *workloads) names.push_back(w.what);
  EXPECT_EQ(names, (std::vector<std::string>{"dense, int8, context 100, 10 rows",
                                             "dense, int8, context 100, one page read",
                                             "dense, int8, context 100, 20 rows"}));
}

TEST(KernelBench, CountsStatisticsScoresAndLogits) {
  KernelCase c = tiny_case("page_scores");
  c.context = 130;  // 9 logical pages in 3 pages, of 2 heads
  EXPECT_EQ(counts_of(c), (Counts{18 * 2 * 64 * 2 + 512 * 4 + 2 * 3 * 4, 18.0 * 4 * 4 * 64}));
  c.attention.page_score = PageScore::kMeanStd;
  EXPECT_EQ(counts_of(c).bytes, 18 * 65 * 2 + 512 * 4 + 2 * 3 * 4);
  c = tiny_case("select_pages");
  c.context = 1000;
  c.attention.token_budget = 320;
  EXPECT_EQ(counts_of(c), (Counts{2 * 16 * 4 + 2 * 5 * 4, 2 * 16}));
  c.op = "select_spans";  // also a page_id of 4 bytes and a span of 8 for each page selected
  EXPECT_EQ(counts_of(c).bytes, 2 * 16 * 4 + 2 * 5 * (4 + 4 + 8));
  c = tiny_case("sample");
  c.batch = 2;
  EXPECT_EQ(counts_of(c), (Counts{2 * 1024 * 4, 2 * 1024}));
}

// Every operation in every mode that it knows, on every backend of this machine.
TEST(KernelBench, EveryOperationRuns) {
  for (const BackendKind kind : {BackendKind::kReference, BackendKind::kCpu, BackendKind::kCuda}) {
    for (const KernelOp& op : kKernelOps) {
      for (const AttentionMode mode : {AttentionMode::kDense, AttentionMode::kStreaming,
                                       AttentionMode::kPages, AttentionMode::kLServe}) {
        if (mode != AttentionMode::kDense && !op.has(KernelDim::kAttention)) continue;
        KernelCase c = tiny_case(std::string(op.name));
        c.context = 700;
        c.batch = op.has(KernelDim::kBatch) ? 2 : 1;
        c.tokens = op.name == "linear" ? 70 : 0;
        c.attention = {.mode = mode, .sink_tokens = 64, .local_tokens = 100, .token_budget = 256};
        c.kv_format = op.has(KernelDim::kAttention) ? KvFormat::kInt8 : KvFormat::kBF16;
        c.rotated_bytes = 1 << 20;
        for (const KernelWorkload& workload : must_make(c)) {
          auto backend = make_backend({.kind = kind, .num_threads = 2});
          if (!backend.ok() && kind == BackendKind::kCuda) return;
          const auto figure = measure_workload(**backend, workload, {.repeats = 2});
          ASSERT_TRUE(figure.ok()) << figure.status().message();
          EXPECT_EQ(figure->does_not_fit, "") << op.name;
          ASSERT_EQ(figure->times.seconds.size(), 2U);
          EXPECT_GT(figure->times.median(), 0) << op.name;
          const bool in_graph = kind == BackendKind::kCuda && op.name != "sample";
          EXPECT_EQ(figure->times.timing == Timing::kGraph, in_graph) << op.name;
          EXPECT_GT(figure->bytes, 0) << op.name;
        }
      }
    }
  }
}

TEST(KernelBench, CopiesRotateOverMoreThanACache) {
  KernelCase c = tiny_case("rms_norm");
  c.tokens = 100;
  c.rotated_bytes = 1 << 20;
  const auto backend = reference();
  const auto kernel = must_make(c).at(0).prepare(*backend);
  ASSERT_TRUE(kernel.ok());
  EXPECT_EQ(kernel->copies, 6);  // of 204,800 bytes
}

class SmallBackend final : public ForwardingBackend {
 public:
  explicit SmallBackend(int64_t bytes) : ForwardingBackend(reference()), bytes_(bytes) {}
  int64_t available_bytes() const override { return bytes_; }

 private:
  int64_t bytes_;
};

TEST(KernelBench, WhatDoesNotFitSaysSoWithBothNumbers) {
  for (const KernelOp& op : kKernelOps) {
    SmallBackend backend(1024);
    KernelCase c = tiny_case(std::string(op.name));
    c.context = 8192;
    c.tokens = op.name == "prefill_attention" ? 64 : 1000;
    c.batch = 8;
    for (const KernelWorkload& workload : must_make(c)) {
      const auto figure = measure_workload(backend, workload, {.repeats = 1});
      ASSERT_TRUE(figure.ok()) << figure.status().message();
      EXPECT_TRUE(figure->does_not_fit.starts_with("does not fit: ")) << op.name;
      EXPECT_TRUE(figure->does_not_fit.ends_with(" of 1.00 KiB")) << figure->does_not_fit;
      EXPECT_NE(table_row(*figure, {}, false).find("does not fit: "), std::string::npos);
    }
  }
  // Fewer copies where there is room for some.
  SmallBackend backend(500'000);
  KernelCase c = tiny_case("rms_norm");
  c.tokens = 100;
  c.rotated_bytes = 1 << 30;
  EXPECT_EQ(must_make(c).at(0).prepare(backend)->copies, 2);
}

TEST(KernelBench, RefusesCasesWithoutSense) {
  KernelCase c = tiny_case("prefill_attention");
  c.tokens = 101;
  EXPECT_EQ(kernel_workloads(c).status().kind(), ErrorKind::kUsage);
  c = tiny_case("select_pages");
  EXPECT_EQ(kernel_workloads(c).status().kind(), ErrorKind::kUsage);
  c.context = 8192;
  c.attention.token_budget = 100;  // no multiple of a page
  EXPECT_EQ(kernel_workloads(c).status().kind(), ErrorKind::kUsage);
}

TEST(KernelBench, FiguresAreHeldAgainstTheCeilings) {
  KernelFigure figure;
  figure.op = "rope";
  figure.what = "one";
  figure.bytes = 3e6;
  figure.operations = 4e6;
  figure.times.seconds = {4e-6, 2e-6, 3e-6};  // 1000 GB/s, 1.33 TFLOP/s
  Ceilings ceilings;
  ceilings.copy_gb_s = 2000;
  ceilings.bf16_tflop_s = 100;
  ceilings.fp32_tflop_s = 10;
  EXPECT_NEAR(figure.of_memory(ceilings), 0.5, 1e-12);
  EXPECT_NEAR(figure.of_products(ceilings), 4.0 / 3 / 100, 1e-12);
  EXPECT_EQ(figure.of_memory({}), 0);
  figure.vendor = "v";
  figure.vendor_seconds = 6e-6;
  EXPECT_NEAR(figure.vendor_ratio(), 2, 1e-12);
  EXPECT_EQ(table_row(figure, ceilings, true),
            "| rope | one | 3.00 | 4.00 | 2.00 | 4.00 | 1000.0 | 50.0% | 1.33 | 1.3% | v | 6.00 | "
            "2.00x | - |\n");
  const auto bars = [](const std::string& text) {
    return std::count(text.begin(), text.end(), '|');
  };
  for (const bool vendor : {false, true}) {
    const int64_t columns = bars(table_row(figure, ceilings, vendor));
    EXPECT_EQ(bars(table_head(vendor)), 2 * columns);
    KernelFigure none;
    none.does_not_fit = "does not fit";
    EXPECT_EQ(bars(table_row(none, ceilings, vendor)), columns);
  }
  figure.counts = {{"pages", 12345}, {"all", 2}};
  EXPECT_NE(table_row(figure, ceilings, false).find("| 1.3% | pages 12,345, all 2 |\n"),
            std::string::npos);
  const Json json = to_json(figure, ceilings);
  EXPECT_EQ(json.find("pages")->as_double(), 12345);
  EXPECT_NEAR(json.find("us_median")->as_double(), 3, 1e-9);
  EXPECT_NEAR(json.find("vendor_ratio")->as_double(), 2, 1e-9);
}

TEST(KernelBench, CeilingsOfTheHost) {
  const auto backend = make_backend({.kind = BackendKind::kCpu, .num_threads = 2});
  const auto memory = (*backend.value()).measure_ceilings(CeilingParts::kMemory);
  ASSERT_TRUE(memory.ok());
  EXPECT_GT(memory->read_gb_s, 0);
  EXPECT_EQ(memory->fp32_tflop_s, 0);
  EXPECT_TRUE(describe(*memory).starts_with("read "));
  EXPECT_EQ(to_json(*memory).as_object().size(), 1U);
  EXPECT_EQ(describe(*reference()->measure_ceilings(CeilingParts::kAll)), "not measured");
}

// What the command line says.
Result<CommandLine> parse(std::vector<std::string> words) {
  words.insert(words.begin(), {"bench", "kernel"});
  return CommandLine::parse(words, [](const std::string&) { return nullptr; });
}

TEST(KernelBench, OptionsMakeEveryCombination) {
  const auto line = parse({"decode_attention,rope", "--context", "1k,2k", "--batch", "1,8",
                           "--attention", "dense,lserve", "--kv-cache-dtype", "bf16,int4",
                           "--tokens", "3", "--token-budget", "512"});
  ASSERT_TRUE(line.ok()) << line.status().message();
  const auto cases = kernel_cases(*line);
  ASSERT_EQ(cases.size(), 17U);
  const KernelCase& last = cases[15];
  EXPECT_EQ(last.op, "decode_attention");
  EXPECT_EQ(last.context, 2048);
  EXPECT_EQ(last.batch, 8);
  EXPECT_EQ(last.attention.mode, AttentionMode::kLServe);
  EXPECT_EQ(last.attention.token_budget, 512);
  EXPECT_EQ(last.kv_format, KvFormat::kInt4);
  EXPECT_EQ(cases[16].op, "rope");
  EXPECT_TRUE(cases[16].beside.empty());
  EXPECT_EQ(cases[16].tokens, 3);
  EXPECT_EQ(cases[16].shape, "llama-3-8b");
}

TEST(KernelBench, OptionsOfBlocksArePrefillsOnly) {
  const auto cases =
      kernel_cases(*parse({"prefill_attention,decode_attention", "--block-lists", "random,single",
                           "--skip-blocks", "0,40", "--beside", "1k,2k"}));
  ASSERT_EQ(cases.size(), 5U);
  EXPECT_EQ(cases[2].block_lists, BlockLists::kSingle);
  EXPECT_EQ(cases[2].skip_percent, 0);
  EXPECT_EQ(cases[3].skip_percent, 40);
  EXPECT_EQ(cases[3].beside, (std::vector<int64_t>{1024, 2048}));
  EXPECT_TRUE(cases[4].beside.empty());
}

TEST(KernelBench, AllNamesEveryOperation) {
  const auto cases = kernel_cases(*parse({"all"}));
  ASSERT_EQ(cases.size(), kKernelOps.size());
  const std::string help = help_text(Verb::kBenchKernel, HelpKind::kAll);
  for (size_t i = 0; i < cases.size(); ++i) {
    EXPECT_EQ(cases[i].op, kKernelOps[i].name);
    EXPECT_TRUE(kernel_workloads(cases[i]).ok()) << cases[i].op;
    EXPECT_NE(help.find(cases[i].op), std::string::npos) << cases[i].op;
  }
  for (const std::string& shape : choices_of(*find_option(Verb::kBenchKernel, "shape"))) {
    EXPECT_TRUE(kernel_workloads(kernel_cases(*parse({"rope", "--shape", shape}))[0]).ok())
        << shape;
  }
}

TEST(KernelBench, UnknownWordsAreExplained) {
  const auto message = [](const std::vector<std::string>& words) {
    const auto line = parse(words);
    EXPECT_EQ(line.status().kind(), ErrorKind::kUsage);
    return line.status().message();
  };
  EXPECT_NE(message({"lineer"}).find("did you mean linear?"), std::string::npos);
  EXPECT_NE(message({"rope,decode_atention"}).find("did you mean decode_attention?"),
            std::string::npos);
  EXPECT_NE(message({"rope", "--shape", "llama-3-80b"}).find("did you mean llama-3-8b?"),
            std::string::npos);
  EXPECT_NE(message({}).find("OP is missing"), std::string::npos);
}

}  // namespace
}  // namespace lserve
