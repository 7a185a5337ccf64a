{
  "targets": [
    {
      "target_name": "postcopy",
      # In reading order: what JavaScript can call, the vocabulary, then one file per kernel facility.
      "sources": [
        "native/addon.cc",
        "native/arguments.cc",
        "native/error.cc",
        "native/handles.cc",
        "native/async.cc",
        "native/constants.cc",
        "native/thread.cc",
        "native/eventfd.cc",
        "native/backing_store.cc",
        "native/ram_block.cc",
        "native/zero_page.cc",
        "native/userfaultfd.cc",
        "native/dirty_log.cc",
        "native/socket.cc",
        "native/kvm.cc",
        "native/kvm_output.cc",
        "native/kvm_vcpu.cc",
        "native/kvm_machine.cc",
        "native/kvm_state.cc",
        "native/kvm_dirty_log.cc",
        "native/kvm_programs.cc",
        "native/kvm_guest_code.S",
        "native/kvm_elsewhere.cc",
        "native/stress_guest.cc",
      ],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": [
        "NAPI_VERSION=9",
        "NODE_ADDON_API_DISABLE_CPP_EXCEPTIONS",
        # A worker that is being terminated can't be thrown at; without this that ends the process.
        "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS",
      ],
      # -Werror is in CMakeLists.txt: a compiler that is newer than this file must not break an install.
      "cflags": ["-O2", "-Wall", "-Wextra", "-fvisibility=hidden"],
      "cflags_cc!": ["-std=gnu++17", "-std=gnu++20"],
      "cflags_cc": ["-std=c++20", "-fno-exceptions"],
      # The prebuilt binary travels: it brings its own C++ runtime, keeps it to itself, and drops what it does
      # not use, as some of that needs a newer C library.
      "ldflags": ["-static-libstdc++", "-static-libgcc", "-Wl,--exclude-libs,ALL", "-Wl,--gc-sections"],
    }
  ]
}
