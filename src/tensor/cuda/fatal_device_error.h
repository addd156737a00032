// The end of a process whose device has failed. No CUDA header, so that tests can call it.
#pragma once

namespace lserve::cuda {

// A run-time error; a device that cannot be used at all is another (device_info.h).
inline constexpr int kFaultExitCode = 1;

// Prints one line, which names the call, the file without its folders and the cause, and ends the
// process with kFaultExitCode, at once: it asks the device for nothing and runs no destructors,
// which might wait for it.
[[noreturn]] void fatal_device_error(const char* call, const char* file, int line,
                                     const char* error);

}  // namespace lserve::cuda
