// A target needs a source; these are made for their precompiled headers.
