"""What services share: `contracts` (what crosses a border), `runtime` (how a service lives), `testing` (doubles)."""
