//! Wide code held to Cranelift's, bit for bit where no sum is made along lanes, and as text.
