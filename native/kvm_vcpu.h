// The threads of a machine's vCPUs: KVM_RUN, and what its exits ask for.
//
// How a vCPU is brought out of KVM_RUN: whoever wants it, holding the machine's mutex, sets
// `immediate_exit` and sends the thread a signal with an empty handler. The signal ends a KVM_RUN
// that is under way; the flag ends one that begins later; the vCPU clears the flag under the same
// mutex, when it has seen what is wanted. Nothing gets lost between.
//
// A vCPU that waits for a page is not sent the signal: it can't leave before the page is there
// (where KVM emulates the access), and with a signal pending the kernel would try again and again
// until then. So a stop has to be repeated until all are parked, and a machine that is closed with
// one left has a thread that does so (`kvm-closer`), ten times a second, until that one ends too.
#pragma once

#include <memory>

#include "kvm_machine.h"

namespace postcopy {

// Makes the threads that are not there yet. The caller holds the mutex.
Outcome MakeKvmThreads(const std::shared_ptr<KvmMachine>& machine);

// Has every vCPU that runs look at the machine's mode. The caller holds the mutex.
void KickKvmVcpus(KvmMachine& machine);

// Of a closed machine: has those vCPUs end later that wait for a page now. The caller holds the
// mutex.
void LeaveKvmVcpus(const std::shared_ptr<KvmMachine>& machine);

}  // namespace postcopy
