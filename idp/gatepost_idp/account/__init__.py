"""What people see and change of their own, signed in by mail: what each of their connected apps may do."""
